// The outline of a text in protobuf text format: which message surrounds a place, and how deep messages nest.
//
// The parser of protobuf names neither the path of an unknown field nor that of a wrong enum value, and it skips what it
// does not know without a limit on depth, which a hostile file turns into a stack overflow. One scan answers both.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan {

struct TextPlace {
  int line = 0, column = 0;  // from 0, as protobuf counts: a tab moves to the next multiple of 8
  bool operator<(const TextPlace& other) const {
    return line != other.line ? line < other.line : column < other.column;
  }
};

class TextOutline {
 public:
  explicit TextOutline(std::string_view text);

  // Names of the messages around the place, outermost first: {"model", "rope"}.
  std::vector<std::string> messages_around(TextPlace place) const;
  // Where the word last begins before the place, or the place itself: the parser complains about a name once it has read
  // what follows it.
  TextPlace word_before(const std::string& word, TextPlace place) const;
  // The last word that begins before the place, or the last one that a colon follows: the name of a field that has a value.
  enum class WordKind { kAny, kBeforeColon };
  std::string last_word_before(TextPlace place, WordKind kind) const;
  int depth() const { return depth_; }  // of messages and lists
  TextPlace deepest() const { return deepest_; }  // where depth() was first reached

 private:
  struct Event {
    TextPlace place;
    int depth;         // after the event
    std::string name;  // of the message that opens; empty when one closes
  };
  struct Word {
    TextPlace place;
    std::string text;
    bool has_colon;
  };
  void note_depth(int depth, TextPlace place);

  std::vector<Event> events_;
  std::vector<Word> words_;
  int depth_ = 0;
  TextPlace deepest_;
};

}  // namespace longspan
