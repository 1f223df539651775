// course COMMAND NUMBER...: the tables of docs/. Without words it lists its commands.
#include "tests/docs/course.h"

#include <charconv>
#include <iostream>

#include "core/base/error.h"

namespace longspan::course {

namespace {

struct Command {
  const char* name;
  const char* words;
  void (*print)(const Words&);
};

constexpr Command kCommands[] = {
    {"stash", "TOKENS", print_stash},
    {"mesh", "DATA CONTEXT", print_mesh},
    {"merge", "SCORE,VALUE... [/ SCORE,VALUE...]...", print_merge},
    {"layout", "LAYOUT RANKS TOKENS", print_layout},
    {"hops", "RANKS", print_hops},
    {"work", "LAYOUT RANKS TOKENS", print_work},
    {"order", "RANKS", print_order},
    {"bytes", "RANKS TOKENS KV_HEADS HEAD_DIM", print_bytes},
    {"batch", "LAYOUT RANKS RANK DOCUMENT_LENGTH...", print_batch},
    {"mask", "LAYOUT RANKS RANK DOCUMENT_LENGTH...", print_mask},
    {"program", "MICROBATCHES LAYERS", print_program},
    {"stream", "SEED SEQUENCE_LENGTH SEQUENCES DOCUMENT_LENGTH...", print_stream},
};

int run(const Words& words) {
  for (const Command& command : kCommands) {
    if (words.empty() || words[0] != command.name) continue;
    command.print({words.begin() + 1, words.end()});
    return 0;
  }
  for (const Command& command : kCommands) std::cerr << "course " << command.name << ' ' << command.words << '\n';
  return 2;
}

}  // namespace

int64_t number(const Words& words, size_t place, const char* what, int64_t least) {
  if (place >= words.size()) raise(ErrorKind::kConfiguration, "{} is missing", what);
  const std::string& word = words[place];
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (failure != std::errc{} || end != word.data() + word.size() || value < least) {
    raise(ErrorKind::kConfiguration, "{} is \"{}\", not a number from {}", what, word, least);
  }
  return value;
}

LayoutType layout(const Words& words, size_t place) {
  for (const auto type : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    if (place < words.size() && words[place] == name(type)) return type;
  }
  raise(ErrorKind::kConfiguration, "the layout is \"{}\"; CONTIGUOUS, ZIGZAG and STRIPED are known",
        place < words.size() ? words[place] : "");
}

}  // namespace longspan::course

int main(int argc, char** argv) {
  try {
    return longspan::course::run({argv + 1, argv + argc});
  } catch (const longspan::Error& error) {
    std::cerr << "course: " << error.what() << '\n';
    return 2;
  }
}
