#include "launcher/text_outline.h"

#include <algorithm>
#include <cctype>

namespace longspan {
namespace {

// Walks a text, keeping the place as protobuf's tokenizer does.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  bool at_end() const { return next_ >= text_.size(); }
  char peek() const { return text_[next_]; }
  TextPlace place() const { return place_; }
  char take() {
    const char c = text_[next_++];
    if (c == '\n') {
      place_ = {place_.line + 1, 0};
    } else {
      place_.column += c == '\t' ? 8 - place_.column % 8 : 1;
    }
    return c;
  }
  void skip_line() {
    while (!at_end() && peek() != '\n') take();
  }
  // Past the quote that ends a string; a string also ends with its line.
  void skip_string(char quote) {
    while (!at_end() && peek() != '\n') {
      const char c = take();
      if (c == quote) return;
      if (c == '\\' && !at_end() && peek() != '\n') take();
    }
  }
  std::string take_word() {
    std::string word;
    while (!at_end() && (std::isalnum(static_cast<unsigned char>(peek())) || peek() == '_')) word += take();
    return word;
  }
  bool colon_follows() const {
    const size_t next = text_.find_first_not_of(" \t\n", next_);
    return next != std::string_view::npos && text_[next] == ':';
  }

 private:
  std::string_view text_;
  size_t next_ = 0;
  TextPlace place_;
};

}  // namespace

TextOutline::TextOutline(std::string_view text) {
  Cursor cursor(text);
  std::vector<std::string> open;
  std::string word;  // the last name seen: the field that a brace belongs to
  int num_lists = 0;  // open ones
  while (!cursor.at_end()) {
    const TextPlace place = cursor.place();
    if (std::isalpha(static_cast<unsigned char>(cursor.peek())) || cursor.peek() == '_') {
      word = cursor.take_word();
      words_.push_back({place, word, cursor.colon_follows()});
      continue;
    }
    const char c = cursor.take();
    if (c == '#') {
      cursor.skip_line();
    } else if (c == '"' || c == '\'') {
      cursor.skip_string(c);
    } else if (c == '[' || c == ']') {
      num_lists = std::max(num_lists + (c == '[' ? 1 : -1), 0);
      note_depth(static_cast<int>(open.size()) + num_lists, place);
    } else if (c == '{' || c == '<') {
      open.push_back(word);
      note_depth(static_cast<int>(open.size()) + num_lists, place);
      events_.push_back({place, static_cast<int>(open.size()), word});
    } else if ((c == '}' || c == '>') && !open.empty()) {
      word = open.back();  // in a list, the next message belongs to the same field
      open.pop_back();
      events_.push_back({place, static_cast<int>(open.size()), ""});
    }
  }
}

void TextOutline::note_depth(int depth, TextPlace place) {
  if (depth <= depth_) return;
  depth_ = depth;
  deepest_ = place;
}

std::string TextOutline::last_word_before(TextPlace place, WordKind kind) const {
  for (auto it = words_.rbegin(); it != words_.rend(); ++it) {
    if (it->place < place && (kind == WordKind::kAny || it->has_colon)) return it->text;
  }
  return {};
}

std::vector<std::string> TextOutline::messages_around(TextPlace place) const {
  std::vector<std::string> names;
  for (const Event& event : events_) {
    if (place < event.place) break;
    names.resize(static_cast<size_t>(std::max(event.depth - (event.name.empty() ? 0 : 1), 0)));
    if (!event.name.empty()) names.push_back(event.name);
  }
  return names;
}

TextPlace TextOutline::word_before(const std::string& word, TextPlace place) const {
  for (auto it = words_.rbegin(); it != words_.rend(); ++it) {
    if (it->place < place && it->text == word) return it->place;
  }
  return place;
}

}  // namespace longspan
