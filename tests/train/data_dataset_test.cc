#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/train/data_fixture.h"
#include "train/data/dataset.h"

namespace longspan {
namespace {

using test::expect_error;
using test::Folder;

constexpr ErrorKind kKind = ErrorKind::kData;

DataSpec text_spec(const std::vector<std::string>& files, int64_t sequence_length,
                   Packing packing = Packing::kDocuments) {
  return {.format = DataFormat::kText,
          .sources = {{.files = files}},
          .sequence_length = sequence_length,
          .packing = packing};
}

// Documents whose every byte says which one it is and where: "A0A1A2..." cut to length.
std::vector<std::string> write_documents(const Folder& folder, const std::vector<size_t>& lengths) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < lengths.size(); ++i) {
    std::string text;
    for (int k = 0; text.size() < lengths[i]; ++k) text += fmt::format("{}{}", static_cast<char>('A' + i), k);
    texts.push_back(text.substr(0, lengths[i]));
    folder.write(fmt::format("{:02}.txt", i), texts.back());
  }
  return texts;
}

std::string text_of(const TokenSequence& sequence) {
  return {sequence.tokens.begin(), sequence.tokens.end()};
}

// Spans tile the sequence, and each holds what its document holds there.
void expect_honest_spans(const Dataset& data, const TokenSequence& sequence,
                         const std::vector<std::string>& texts) {
  int64_t end = 0;
  for (const DocumentSpan& span : sequence.documents) {
    EXPECT_EQ(span.begin, end);
    EXPECT_GT(span.length, 0);
    end += span.length;
    const std::string& text = texts[static_cast<size_t>(span.document)];
    EXPECT_LE(span.offset_in_document + span.length, data.document_tokens(span.document));
    EXPECT_EQ(text_of(sequence).substr(static_cast<size_t>(span.begin), static_cast<size_t>(span.length)),
              text.substr(static_cast<size_t>(span.offset_in_document), static_cast<size_t>(span.length)));
  }
  EXPECT_EQ(end, static_cast<int64_t>(sequence.tokens.size()));
}

TEST(Dataset, SequencesAreCutsOfTheConcatenatedEpochs) {
  const Folder folder;
  const auto texts = write_documents(folder, {5, 1, 17, 9, 3, 3, 30});
  for (const int64_t length : {1, 4, 16, 68, 150}) {
    const Dataset data = open_dataset(text_spec({folder.path()}, length), 5, 256, Order::kShuffled);
    EXPECT_EQ(data.total_tokens(), 68);
    EXPECT_EQ(data.num_documents(), 7);
    EXPECT_EQ(data.num_sequences_per_epoch(), (68 + length - 1) / length);
    // Each epoch as one long sequence, made of whole documents.
    std::string stream;
    const Dataset epochs = open_dataset(text_spec({folder.path()}, 68), 5, 256, Order::kShuffled);
    for (int64_t epoch = 0; epoch < 8; ++epoch) {
      const TokenSequence whole = epochs.sequence(epoch);
      EXPECT_EQ(whole.documents.size(), 7u);
      for (const DocumentSpan& span : whole.documents) EXPECT_EQ(span.offset_in_document, 0);
      stream += text_of(whole);
    }
    const SequenceOrder order(data.num_sequences_per_epoch(), 5, "data/source 0");
    for (int64_t n = 0; n < 3 * data.num_sequences_per_epoch(); ++n) {
      const int64_t begin = order(n) * length;
      ASSERT_LE(begin + length, static_cast<int64_t>(stream.size()));
      const TokenSequence sequence = data.sequence(n);
      EXPECT_EQ(text_of(sequence), stream.substr(static_cast<size_t>(begin), static_cast<size_t>(length)));
      expect_honest_spans(data, sequence, texts);
    }
  }
}

TEST(Dataset, TrainingNeedsTheTokensOfOneSequenceFromEverySource) {
  const Folder folder, other;
  write_documents(folder, {5, 1, 17, 9, 3, 3, 30});
  write_documents(other, {300});
  DataSpec spec = text_spec({folder.path()}, 69);
  const auto check_length = [&] { open_dataset(spec, 5, 256, Order::kShuffled).refuse_repetition(spec); };
  expect_error(kKind, {folder.path(), "68 tokens are there", "than the 69 of one sequence", "sequence_length to at most 68"},
               check_length);
  spec.sources = {{.files = {other.path()}}, {.files = {folder.path()}, .weight = 0.01}};
  expect_error(kKind, {folder.path(), "to at most 68"}, check_length);
  spec.sequence_length = 68;
  EXPECT_NO_THROW(check_length());
  spec.sources = {{.files = {folder.path()}}};
  spec.holdout_every = 7;  // the last file
  spec.part = DataPart::kTraining;
  expect_error(kKind, {"38 tokens are left for training (holdout_every: 7)", "to at most 38"}, check_length);
}

TEST(SequenceOrder, IsOneToOneWithinEachGroup) {
  for (const int64_t size : {1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000}) {
    const SequenceOrder order(size, 7, "name");
    for (int64_t group = 0; group < 3; ++group) {
      std::set<int64_t> places;
      for (int64_t i = 0; i < size; ++i) places.insert(order(group * size + i));
      EXPECT_EQ(static_cast<int64_t>(places.size()), size);
      EXPECT_EQ(*places.begin(), group * size);
      EXPECT_EQ(*places.rbegin(), (group + 1) * size - 1);
    }
  }
}

TEST(SequenceOrder, NeighboursPart) {
  const int64_t size = 4096;
  const SequenceOrder order(size, 1, "a"), other(size, 2, "a");
  int64_t neighbours = 0, same = 0, distance = 0;
  for (int64_t i = 0; i + 1 < size; ++i) {
    neighbours += std::abs(order(i + 1) - order(i)) == 1;
    same += order(i) == other(i);
    distance += std::abs(order(i + 1) - order(i));
  }
  EXPECT_LT(neighbours, 12) << "about 2 of 4096 by chance";
  EXPECT_LT(same, 8) << "about 1 by chance";
  EXPECT_NEAR(static_cast<double>(distance) / static_cast<double>(size), size / 3.0, size / 30.0);
  EXPECT_NE(order(5), order(size + 5) - size) << "each group has its own order";
}

TEST(Dataset, AnyNumberIsTheSameInAnyOrder) {
  const Folder folder;
  write_documents(folder, {50, 20, 33, 7});
  const Dataset forwards = open_dataset(text_spec({folder.path()}, 16), 1, 256, Order::kShuffled);
  std::vector<std::string> texts;
  for (int64_t n = 0; n < 60; ++n) texts.push_back(text_of(forwards.sequence(n)));
  const Dataset backwards = open_dataset(text_spec({folder.path()}, 16), 1, 256, Order::kShuffled);
  for (int64_t n = 59; n >= 0; --n) EXPECT_EQ(text_of(backwards.sequence(n)), texts[static_cast<size_t>(n)]);
  EXPECT_EQ(text_of(forwards.sequence(int64_t{1} << 50)), text_of(backwards.sequence(int64_t{1} << 50)));
  EXPECT_THROW(forwards.sequence(-1), Error);
  EXPECT_THROW(forwards.sequence(std::numeric_limits<int64_t>::max()), Error);
  const Dataset other = open_dataset(text_spec({folder.path()}, 110), 2, 256, Order::kShuffled);
  const Dataset same = open_dataset(text_spec({folder.path()}, 110), 1, 256, Order::kShuffled);
  std::set<std::string> epochs;
  for (int64_t n = 0; n < 6; ++n) epochs.insert({text_of(other.sequence(n)), text_of(same.sequence(n))});
  EXPECT_GT(epochs.size(), 6u) << "of 12 epochs of 24 orders, most should differ";
}

TEST(Dataset, AStreamIsOneSpan) {
  const Folder folder;
  write_documents(folder, {6, 20});
  const Dataset data = open_dataset(text_spec({folder.path()}, 8, Packing::kStream), 0, 256, Order::kListed);
  const TokenSequence mixed = data.sequence(0), inside = data.sequence(1), last = data.sequence(3);
  ASSERT_EQ(mixed.documents.size(), 1u);
  EXPECT_EQ(mixed.documents[0].document, -1);
  EXPECT_EQ(mixed.documents[0].length, 8);
  EXPECT_EQ(mixed.documents[0].offset_in_document, 0);
  ASSERT_EQ(inside.documents.size(), 1u);
  EXPECT_EQ(inside.documents[0].document, 1);
  EXPECT_EQ(inside.documents[0].offset_in_document, 2);
  EXPECT_EQ(last.tokens.size(), 2u);
}

TEST(Dataset, ListedOrderIsEveryDocumentOnce) {
  const Folder a, b;
  auto texts = write_documents(a, {10, 4});
  for (const std::string& text : write_documents(b, {3, 8})) texts.push_back(text);
  DataSpec spec = text_spec({a.path()}, 10);
  spec.sources.push_back({.files = {b.path()}, .weight = 7});
  const Dataset data = open_dataset(spec, 3, 256, Order::kListed);
  EXPECT_EQ(data.num_sequences_per_epoch(), 3);
  std::string all;
  for (int64_t n = 0; n < 3; ++n) {
    expect_honest_spans(data, data.sequence(n), texts);
    all += text_of(data.sequence(n));
  }
  EXPECT_EQ(all, texts[0] + texts[1] + texts[2] + texts[3]);
  EXPECT_EQ(data.sequence(2).tokens.size(), 5u);
  EXPECT_EQ(data.document_name(3), b / "01.txt");
  EXPECT_EQ(data.document_tokens(3), 8);
  EXPECT_THROW(data.sequence(3), Error);
  EXPECT_THROW(data.document_name(4), Error);
  EXPECT_EQ(data.bytes_per_token(), 1.0);
}

TEST(Dataset, BlendsFollowTheirWeights) {
  const Folder a, b, c;
  a.write("a", std::string(100, 'a'));
  b.write("b", std::string(7, 'b'));
  c.write("c", std::string(31, 'c'));
  DataSpec spec = text_spec({a.path()}, 5);
  spec.sources = {{.files = {a.path()}, .weight = 3},
                  {.files = {b.path()}, .weight = 1},
                  {.files = {c.path()}, .weight = 6}};
  const Dataset data = open_dataset(spec, 0, 256, Order::kShuffled);
  std::map<char, int> counts;
  for (int64_t n = 0; n < 1000; ++n) {
    const std::string text = text_of(data.sequence(n));
    EXPECT_EQ(text, std::string(5, text[0]));
    ++counts[text[0]];
  }
  EXPECT_EQ(counts['a'], 300);
  EXPECT_EQ(counts['b'], 100);
  EXPECT_EQ(counts['c'], 600);
}

std::set<std::string> names(const Dataset& data) {
  std::set<std::string> all;
  for (int64_t i = 0; i < data.num_documents(); ++i) all.insert(data.document_name(i));
  return all;
}

TEST(Dataset, HeldOutDocumentsAreNotTrainedOn) {
  const Folder folder;
  write_documents(folder, {5, 5, 0, 5, 5, 5, 5, 5});  // one is empty and does not count
  DataSpec spec = text_spec({folder.path()}, 4);
  spec.holdout_every = 3;
  const auto part = [&](DataPart which, Order order) {
    DataSpec partial = spec;
    partial.part = which;
    return open_dataset(partial, 0, 256, order);
  };
  const auto held_out = names(part(DataPart::kHeldOut, Order::kListed));
  EXPECT_EQ(held_out, (std::set<std::string>{folder / "03.txt", folder / "06.txt"}));
  auto both = names(part(DataPart::kTraining, Order::kShuffled));
  EXPECT_EQ(both.size(), 5u);
  both.insert(held_out.begin(), held_out.end());
  EXPECT_EQ(both, names(part(DataPart::kAll, Order::kListed)));
  EXPECT_EQ(part(DataPart::kAll, Order::kListed).num_empty_files(), 1);
  // Other ways to name the files hold out the same ones, and a file in two sources is out of both.
  spec.sources = {{.files = {folder / "0[4-7].txt"}, .weight = 1},
                  {.files = {folder / "*.txt"}, .weight = 1}};
  EXPECT_EQ(names(part(DataPart::kHeldOut, Order::kListed)), held_out);
  for (const std::string& name : names(part(DataPart::kTraining, Order::kShuffled)))
    EXPECT_FALSE(held_out.contains(name));
}

TEST(Dataset, NothingLeftIsAnError) {
  const Folder folder;
  write_documents(folder, {5, 5});
  DataSpec spec = text_spec({folder.path()}, 4);
  spec.part = DataPart::kHeldOut;
  expect_error(kKind, {folder.path(), "held out", "holdout_every: 0"},
               [&] { open_dataset(spec, 0, 256, Order::kListed); });
  spec.holdout_every = 3;
  expect_error(kKind, {folder.path(), "held out", "holdout_every: 3"},
               [&] { open_dataset(spec, 0, 256, Order::kListed); });
  spec.holdout_every = 1;
  spec.part = DataPart::kTraining;
  expect_error(kKind, {folder.path(), "training"}, [&] { open_dataset(spec, 0, 256, Order::kShuffled); });
  expect_error(kKind, {"no data files"}, [&] { open_dataset(DataSpec(), 0, 256, Order::kShuffled); });
}

TEST(Dataset, TokensOutsideOfTheVocabulary) {
  const Folder folder;
  const std::string path = folder.write("t", test::raw<uint16_t>({1, 2, 3, 500, 4}));
  DataSpec spec = text_spec({path}, 2);
  spec.format = DataFormat::kTokensU16;
  const Dataset data = open_dataset(spec, 0, 500, Order::kListed);
  EXPECT_EQ(data.sequence(0).tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(data.bytes_per_token(), std::nullopt);
  expect_error(kKind, {path, "token 3 is 500", "500 tokens"}, [&] { data.sequence(1); });
  EXPECT_EQ(open_dataset(spec, 0, 501, Order::kListed).sequence(1).tokens[1], 500);
}

TEST(Dataset, MegatronDocuments) {
  const Folder folder;
  // Two documents of 3 and 2 tokens, and an empty one between them.
  folder.write("p.idx", std::string("MMIDIDX\0\0", 9) + test::raw<uint64_t>({1}) + "\x08" +
                            test::raw<uint64_t>({2, 4}) + test::raw<int32_t>({3, 2}) +
                            test::raw<int64_t>({0, 6, 0, 1, 1, 2}));
  folder.write("p.bin", test::raw<uint16_t>({1, 2, 3, 4, 5}));
  DataSpec spec = text_spec({folder / "p"}, 4);
  spec.format = DataFormat::kMegatron;
  const Dataset data = open_dataset(spec, 0, 10, Order::kListed);
  EXPECT_EQ(data.num_documents(), 2);
  EXPECT_EQ(data.document_name(1), folder / "p.bin#2");
  const TokenSequence first = data.sequence(0);
  EXPECT_EQ(first.tokens, (std::vector<int32_t>{1, 2, 3, 4}));
  ASSERT_EQ(first.documents.size(), 2u);
  EXPECT_EQ(first.documents[1].begin, 3);
  EXPECT_EQ(first.documents[1].document, 1);
  EXPECT_EQ(data.sequence(1).documents[0].offset_in_document, 1);
}

TEST(Dataset, FingerprintTellsOtherData) {
  const Folder folder;
  write_documents(folder, {5, 9, 4});
  const DataSpec spec = text_spec({folder.path()}, 4);
  const uint32_t before = open_dataset(spec, 0, 256, Order::kShuffled).fingerprint();
  EXPECT_EQ(open_dataset(text_spec({folder / "*.txt"}, 8), 7, 256, Order::kListed).fingerprint(), before);
  folder.write("01.txt", "something else");
  EXPECT_NE(open_dataset(spec, 0, 256, Order::kShuffled).fingerprint(), before);
}

TEST(Dataset, MillionsOfTokensInOneSequence) {
  const Folder folder;
  for (int i = 0; i < 3; ++i)
    folder.write(fmt::format("{}", i), std::string(1'000'000, static_cast<char>('a' + i)));
  const Dataset data = open_dataset(text_spec({folder.path()}, 2'500'000), 1, 256, Order::kShuffled);
  EXPECT_EQ(data.sequence(3).tokens.size(), 2'500'000u);
  EXPECT_EQ(data.num_sequences_per_epoch(), 2);
}

}  // namespace
}  // namespace longspan
