#include <gtest/gtest.h>

#include <limits>

#include "core/base/random.h"
#include "tests/train/data_fixture.h"
#include "train/data/token_source.h"

namespace longspan {
namespace {

using test::expect_error;
using test::Folder;
using test::raw;

constexpr ErrorKind kKind = ErrorKind::kData;

// An index as Megatron-LM writes it; tests then lie in one of its parts.
struct Index {
  std::string magic = std::string("MMIDIDX\0\0", 9);
  uint64_t version = 1;
  uint8_t code = 8;
  std::vector<int32_t> lengths = {3, 2, 0, 4};
  std::vector<int64_t> offsets = {0, 6, 10, 10};  // bytes of uint16 tokens
  std::vector<int64_t> documents = {0, 2, 3, 4};
  uint64_t num_sequences = 4, num_bounds = 4;
  std::string tail;

  std::string bytes() const {
    return magic + raw<uint64_t>({version}) + std::string(1, static_cast<char>(code)) +
           raw<uint64_t>({num_sequences, num_bounds}) + raw(lengths) + raw(offsets) + raw(documents) + tail;
  }
};

const std::vector<uint16_t> kTokens = {10, 11, 12, 20, 21, 40, 41, 42, 65535};

std::unique_ptr<TokenSource> open(const Folder& folder, const Index& index, const std::string& bin) {
  folder.write("p.idx", index.bytes());
  folder.write("p.bin", bin);
  return open_token_source(DataFormat::kMegatron, {folder / "p"});
}

TEST(Megatron, DocumentsAreRunsOfSequences) {
  const Folder folder;
  const auto source = open(folder, {}, raw(kTokens));
  ASSERT_EQ(source->num_documents(), 3);
  EXPECT_EQ(source->document_tokens(0), 5);
  EXPECT_EQ(source->document_tokens(1), 0);
  EXPECT_EQ(source->document_tokens(2), 4);
  EXPECT_EQ(source->document_name(2), folder / "p.bin#2");
  for (int64_t offset = 0; offset <= 5; ++offset) {
    for (int64_t count = 0; offset + count <= 5; ++count) {
      std::vector<int32_t> out(static_cast<size_t>(count));
      source->read(0, offset, count, out.data());
      EXPECT_EQ(out, std::vector<int32_t>(kTokens.begin() + offset, kTokens.begin() + offset + count));
    }
  }
  int32_t last = 0;
  source->read(2, 3, 1, &last);
  EXPECT_EQ(last, 65535);
}

TEST(Megatron, SequencesMayLieAnywhereAndSeveralFilesFollowEachOther) {
  const Folder folder;
  Index index;
  index.lengths = {2, 2};
  index.offsets = {5, 1};  // backwards, and misaligned
  index.documents = {0, 2};
  index.num_sequences = index.num_bounds = 2;
  folder.write("q.idx", index.bytes());
  folder.write("q.bin", std::string("\x00\x01\x00\x02\x00\x07\x00\x08\x00", 9));
  open(folder, {}, raw(kTokens));
  const auto source = open_token_source(DataFormat::kMegatron, {folder / "p", folder / "q"});
  ASSERT_EQ(source->num_documents(), 4);
  EXPECT_EQ(source->file_of(2), 0u);
  EXPECT_EQ(source->file_of(3), 1u);
  EXPECT_EQ(source->document_name(3), folder / "q.bin#0");
  std::vector<int32_t> out(4);
  source->read(3, 0, 4, out.data());
  EXPECT_EQ(out, (std::vector<int32_t>{7, 8, 1, 2}));
}

TEST(Megatron, TokenTypes) {
  const Folder folder;
  Index index;
  index.lengths = {2};
  index.offsets = {0};
  index.documents = {0, 1};
  index.num_sequences = 1;
  index.num_bounds = 2;
  int32_t out[2];
  index.code = 1;
  open(folder, index, raw<uint8_t>({200, 1}))->read(0, 0, 2, out);
  EXPECT_EQ(out[0], 200);
  index.code = 4;
  open(folder, index, raw<int32_t>({70000, 1}))->read(0, 0, 2, out);
  EXPECT_EQ(out[0], 70000);
  const auto negative = open(folder, index, raw<int32_t>({5, -3}));
  expect_error(kKind, {folder / "p.bin#0", "token 1", "-3"}, [&] { negative->read(0, 0, 2, out); });
  index.code = 2;
  const auto small = open(folder, index, raw<int8_t>({5, -1}));
  expect_error(kKind, {folder / "p.bin#0", "-1"}, [&] { small->read(0, 0, 2, out); });
  const std::vector<std::pair<int, std::string>> others = {
      {5, "int64"}, {6, "float64"}, {7, "float32"}, {3, "int16"}, {0, "0"}, {9, "9"}, {255, "255"}};
  for (const auto& [code, name] : others) {
    index.code = static_cast<uint8_t>(code);
    expect_error(kKind, {folder / "p.idx", name}, [&] { open(folder, index, std::string(64, '\0')); });
  }
}

TEST(Megatron, AnEmptyIndexHasNoDocuments) {
  const Folder folder;
  Index index;
  index.lengths = {};
  index.offsets = {};
  index.documents = {0};
  index.num_sequences = 0;
  index.num_bounds = 1;
  EXPECT_EQ(open(folder, index, "")->num_documents(), 0);
}

struct Lie {
  Index index;
  std::vector<std::string> message;
};

template <class Change>
Lie lie(const std::vector<std::string>& message, const Change& change) {
  Lie result{.index = {}, .message = message};
  change(result.index);
  return result;
}

TEST(Megatron, LyingIndexesAreRefused) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  const std::vector<Lie> lies = {
      lie({"MMIDIDX"}, [](Index& i) { i.magic[3] = 'x'; }),
      lie({"version 2"}, [](Index& i) { i.version = 2; }),
      lie({"18446744073709551615 sequences"}, [](Index& i) { i.num_sequences = ~uint64_t{0}; }),
      lie({"18446744073709551615 document"}, [](Index& i) { i.num_bounds = ~uint64_t{0}; }),
      lie({"1537228672809129302"},
          [](Index& i) { i.num_sequences = 1537228672809129302u; }),  // 12 x this wraps around
      lie({"2 document bounds"}, [](Index& i) { i.num_bounds = 2; }),
      lie({"no document bounds"}, [](Index& i) { i.num_bounds = 0, i.documents = {}; }),
      lie({"multimodal"}, [](Index& i) { i.tail = std::string(4, '\0'); }),
      lie({"need"}, [](Index& i) { i.tail = "x"; }),
      lie({"sequence 1", "-2 tokens"}, [](Index& i) { i.lengths[1] = -2; }),
      lie({"sequence 3", "5 tokens", "18 bytes"}, [](Index& i) { i.lengths[3] = 5; }),
      lie({"sequence 0", "2147483647"}, [](Index& i) { i.lengths[0] = 2147483647; }),
      lie({"sequence 1", "byte -1"}, [](Index& i) { i.offsets[1] = -1; }),
      lie({"sequence 1", "byte 15"}, [](Index& i) { i.offsets[1] = 15; }),
      lie({"sequence 2", "byte 19"}, [](Index& i) { i.offsets[2] = 19; }),
      lie({"sequence 1", std::to_string(huge)}, [&](Index& i) { i.offsets[1] = huge; }),
      lie({"first document", "1"}, [](Index& i) { i.documents[0] = 1; }),
      lie({"document 1", "3 to 2"},
          [](Index& i) {
            i.documents = {0, 3, 2, 4};
          }),
      lie({"document 0", "0 to -5"}, [](Index& i) { i.documents[1] = -5; }),
      lie({"document 1", std::to_string(huge)}, [&](Index& i) { i.documents[2] = huge; }),
      lie({"end at sequence 3", "4"}, [](Index& i) { i.documents[3] = 3; }),
  };
  const Folder folder;
  for (const Lie& one : lies) {
    std::vector<std::string> message = one.message;
    message.push_back(folder / "p.idx");
    SCOPED_TRACE(one.message.back());
    expect_error(kKind, message, [&] { open(folder, one.index, raw(kTokens)); });
  }
}

TEST(Megatron, DamagedIndexesNeverReadOutsideOfTheirFiles) {
  const Folder folder;
  const std::string whole = Index().bytes();
  const RandomStream random(1, "damage");
  folder.write("p.bin", raw(kTokens));
  for (uint64_t i = 0; i < 400; ++i) {
    std::string damaged = whole;
    for (uint64_t k = 0; k < 1 + i % 3; ++k) {
      damaged[random.below(8 * i + k, whole.size())] = static_cast<char>(random.bits(8 * i + k + 4));
    }
    folder.write("p.idx", damaged);
    try {
      const auto source = open_token_source(DataFormat::kMegatron, {folder / "p"});
      for (int64_t d = 0; d < source->num_documents(); ++d) {
        std::vector<int32_t> out(static_cast<size_t>(source->document_tokens(d)));
        source->read(d, 0, source->document_tokens(d), out.data());
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kKind) << error.what();
    }
  }
}

TEST(Megatron, FilesThatAreCutShort) {
  const Folder folder;
  const std::string whole = Index().bytes();
  folder.write("p.bin", raw(kTokens));
  for (size_t size = 0; size < whole.size(); ++size) {
    folder.write("p.idx", whole.substr(0, size));
    expect_error(kKind, {folder / "p.idx"},
                 [&] { open_token_source(DataFormat::kMegatron, {folder / "p"}); });
  }
  std::filesystem::remove(folder / "p.bin");
  expect_error(kKind, {folder / "p.bin"}, [&] { open_token_source(DataFormat::kMegatron, {folder / "p"}); });
  const auto source = open(folder, {}, raw(kTokens));
  std::filesystem::resize_file(folder / "p.bin", 4);
  int32_t out[5];
  expect_error(kKind, {folder / "p.bin", "18", "4"}, [&] { source->read(0, 0, 5, out); });
}

}  // namespace
}  // namespace longspan
