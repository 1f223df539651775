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
  // The last two words that begin before the place, the nearest first: a value and the name of its field, or the name alone.
  std::vector<std::string> words_before(TextPlace place) const;
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
  };
  void note_depth(int depth, TextPlace place);

  std::vector<Event> events_;
  std::vector<Word> words_;
  int depth_ = 0;
  TextPlace deepest_;
};

}  // namespace longspan
