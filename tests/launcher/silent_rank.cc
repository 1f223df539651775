// A rank that meets the others and then says nothing more.
#include <thread>

#include "launcher/world.h"

int main() {
  const longspan::World world(longspan::Launch::kMpi, std::chrono::seconds(60));
  std::this_thread::sleep_for(std::chrono::minutes(5));
}
