#include "tests/support/simt/mutation.h"

namespace longspan::simt {

namespace {
thread_local std::map<const void*, Site> sites;
thread_local const void* dropped = nullptr;
}  // namespace

std::map<const void*, Site>& visited_sites() { return sites; }
void drop_site(const void* site) { dropped = site; }

bool is_dropped(const void* site, const char* instruction, int line) {
  ++sites.try_emplace(site, Site{instruction, line}).first->second.visits;
  return site == dropped;
}

}  // namespace longspan::simt
