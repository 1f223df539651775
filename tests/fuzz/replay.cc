// The main of a fuzz target in an ordinary build: every file of a corpus once, each within seconds. replay FOLDER
#include <chrono>
#include <iterator>
#include <vector>

#include "tests/fuzz/contract.h"

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  if (argc != 2) longspan::fuzz::finding("which folder holds the corpus?");
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(argv[1])) {
    std::cout << entry.path().filename().string() << std::endl;  // the last one is the culprit
    std::ifstream file(entry.path(), std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    const auto begin = std::chrono::steady_clock::now();
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    if (std::chrono::steady_clock::now() - begin > std::chrono::seconds(5)) longspan::fuzz::finding("it took too long");
    ++count;
  }
  if (count == 0) longspan::fuzz::finding(std::string(argv[1]) + " is empty");
  std::cout << count << " inputs" << std::endl;
  return 0;
}
