// Mutation of synchronisation: every place in a kernel where an instruction orders something can be told to do nothing, one
// at a time. A test that still passes then does not test that place, or the place is not needed.
//
// A place is known by the return address of the emulated instruction; each is inlined into the kernel for that.
#pragma once

#include <cstdint>
#include <map>

namespace longspan::simt {

struct Site {
  const char* instruction;
  int line;  // in the kernel, where the instruction says so
  uint64_t visits = 0;
};

std::map<const void*, Site>& visited_sites();  // since the caller last cleared it
void drop_site(const void* site);              // null: none
// Whether the instruction at this place is to do nothing.
bool is_dropped(const void* site, const char* instruction, int line);

}  // namespace longspan::simt

#define LS_DROPPED(instruction, line) ::longspan::simt::is_dropped(__builtin_return_address(0), instruction, line)
