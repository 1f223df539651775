#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/train/data_fixture.h"
#include "train/data/document_files.h"
#include "train/data/token_source.h"

namespace longspan {
namespace {

using test::expect_error;
using test::Folder;
using test::write_deep;

constexpr ErrorKind kKind = ErrorKind::kData;
namespace fs = std::filesystem;

std::vector<std::string> found(const std::vector<std::string>& entries,
                               DataFormat format = DataFormat::kText) {
  std::vector<std::string> paths;
  for (const DocumentFile& file : find_document_files(entries, format).files) paths.push_back(file.path);
  return paths;
}

TEST(DocumentFiles, FilesFoldersAndGlobsGiveOneSortedList) {
  const Folder folder;
  for (const char* name : {"b.txt", "a.txt", "deep/er/c.txt", "deep/a.txt", "Z.md"})
    write_deep(folder, name, "x");
  const std::vector<std::string> all = {folder / "Z.md", folder / "a.txt", folder / "b.txt",
                                        folder / "deep/a.txt", folder / "deep/er/c.txt"};
  EXPECT_EQ(found({folder.path()}), all);
  EXPECT_EQ(found({folder.path() + "/"}), all);
  EXPECT_EQ(found({folder / "deep", folder / "*.txt", folder / "Z.md"}), all);
  EXPECT_EQ(found({folder / "b.txt", folder / "./a.txt", folder / "b.txt", folder / "deep/../[ab].txt"}),
            (std::vector<std::string>{folder / "a.txt", folder / "b.txt"}));
  EXPECT_EQ(found({folder / "de*"}),
            (std::vector<std::string>{folder / "deep/a.txt", folder / "deep/er/c.txt"}));
}

TEST(DocumentFiles, ANameThatLooksLikeAGlobIsTheFile) {
  const Folder folder;
  folder.write("a[1].txt", "x");
  folder.write("a1.txt", "x");
  EXPECT_EQ(found({folder / "a[1].txt"}), (std::vector<std::string>{folder / "a[1].txt"}));
}

TEST(DocumentFiles, WhatCannotBeUsedInAFolderIsSkippedAndCounted) {
  const Folder folder;
  write_deep(folder, "good.txt", "x");
  write_deep(folder, "empty.txt", "");
  write_deep(folder, ".hidden.txt", "x");
  write_deep(folder, ".git/config", "x");
  write_deep(folder, "sub/again.txt", "x");
  fs::create_symlink(folder / "nowhere", folder / "broken");
  fs::create_symlink(folder / "sub", folder / "linked_folder");
  fs::create_symlink(folder / "good.txt", folder / "link_to_good");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const DocumentFiles files = find_document_files({folder.path()}, DataFormat::kText);
  ASSERT_EQ(files.files.size(), 2u);
  EXPECT_EQ(files.files[0].path, folder / "good.txt");
  EXPECT_EQ(files.files[1].path, folder / "sub/again.txt");
  EXPECT_EQ(files.num_skipped, 3);
  EXPECT_EQ(files.num_empty, 1);
}

TEST(DocumentFiles, WhatIsNamedMustBeThere) {
  const Folder folder;
  folder.write("empty.txt", "");
  folder.write("good.txt", "x");
  fs::create_directories(folder / "nothing");
  fs::create_symlink(folder / "nowhere", folder / "broken");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::string good = folder / "good.txt";
  expect_error(kKind, {folder / "absent.txt", "No such file"}, [&] { found({good, folder / "absent.txt"}); });
  expect_error(kKind, {folder / "*.parquet", "no file matches"}, [&] {
    found({good, folder / "*.parquet"});
  });
  expect_error(kKind, {folder / "nothing", "no file matches"}, [&] { found({good, folder / "nothing"}); });
  expect_error(kKind, {folder / "broken", "links"}, [&] { found({good, folder / "broken"}); });
  expect_error(kKind, {folder / "pipe", "pipe"}, [&] { found({good, folder / "pipe"}); });
  expect_error(kKind, {folder / "empty.txt", "empty"}, [&] { found({folder / "empty.txt"}); });
  expect_error(kKind, {"no data files"}, [&] { found({}); });
  expect_error(kKind, {"cannot find"}, [&] { found({""}); });
  EXPECT_EQ(found({good, folder / "empty.txt"}).size(), 1u);
}

TEST(DocumentFiles, UnreadableFiles) {
  const Folder folder;
  folder.write("good.txt", "x");
  folder.write("secret.txt", "x");
  fs::create_directories(folder / "locked");
  folder.write("locked/a.txt", "x");
  ::chmod((folder / "secret.txt").c_str(), 0);
  ::chmod((folder / "locked").c_str(), 0);
  const uid_t before = ::geteuid();
  ASSERT_EQ(before == 0 ? ::seteuid(65534) : 0, 0);  // root may read anything
  const DocumentFiles files = find_document_files({folder.path()}, DataFormat::kText);
  EXPECT_EQ(files.files.size(), 1u);
  EXPECT_EQ(files.num_skipped, 2);
  expect_error(kKind, {folder / "secret.txt", "Permission denied"}, [&] { found({folder / "secret.txt"}); });
  expect_error(kKind, {folder / "locked", "1 cannot be read"}, [&] { found({folder / "locked"}); });
  ASSERT_EQ(before == 0 ? ::seteuid(before) : 0, 0);
  ::chmod((folder / "locked").c_str(), 0700);
}

TEST(DocumentFiles, MegatronPrefixes) {
  const Folder folder;
  for (const char* name : {"b_text_document", "a_text_document", "sub/c"}) {
    write_deep(folder, std::string(name) + ".idx", "x");
    write_deep(folder, std::string(name) + ".bin", "x");
  }
  const std::string a = folder / "a_text_document", b = folder / "b_text_document", c = folder / "sub/c";
  const auto prefixes = [](const std::vector<std::string>& entries) {
    return found(entries, DataFormat::kMegatron);
  };
  EXPECT_EQ(prefixes({a}), std::vector<std::string>{a});
  EXPECT_EQ(prefixes({a + ".idx", a + ".bin"}), std::vector<std::string>{a});
  EXPECT_EQ(prefixes({folder.path()}), (std::vector<std::string>{a, b, c}));
  EXPECT_EQ(prefixes({folder / "*_text_document"}), (std::vector<std::string>{a, b}));
  EXPECT_EQ(prefixes({folder / "*.bin"}), (std::vector<std::string>{a, b}));
  expect_error(kKind, {folder / "d.idx"}, [&] { prefixes({folder / "d"}); });
  fs::remove(folder / "sub/c.idx");
  expect_error(kKind, {folder / "sub/c.idx"}, [&] { prefixes({c}); });
}

TEST(TokenSource, RawFormats) {
  const Folder folder;
  int32_t out[3] = {};
  const auto text =
      open_token_source(DataFormat::kText, {folder.write("a", "a\xff\n"), folder.write("b", "x")});
  EXPECT_EQ(text->num_documents(), 2);
  EXPECT_EQ(text->document_tokens(0), 3);
  EXPECT_EQ(text->document_name(1), folder / "b");
  text->read(0, 0, 3, out);
  EXPECT_EQ(out[1], 255);
  const auto u16 =
      open_token_source(DataFormat::kTokensU16, {folder.write("u16", test::raw<uint16_t>({1, 65535, 3}))});
  u16->read(0, 1, 2, out);
  EXPECT_EQ(out[0], 65535);
  EXPECT_EQ(out[1], 3);
  EXPECT_THROW(u16->read(0, 2, 2, out), Error);
  const auto u32 =
      open_token_source(DataFormat::kTokensU32, {folder.write("u32", test::raw<uint32_t>({7, 4000000000u}))});
  u32->read(0, 0, 1, out);
  EXPECT_EQ(out[0], 7);
  expect_error(kKind, {folder / "u32", "token 1", "4000000000"}, [&] { u32->read(0, 1, 1, out); });
}

TEST(TokenSource, OddSizesAndChangesAreRefused) {
  const Folder folder;
  const std::string odd = folder.write("odd", "12345");
  expect_error(kKind, {odd, "5 bytes"}, [&] { open_token_source(DataFormat::kTokensU16, {odd}); });
  expect_error(kKind, {odd, "5 bytes"}, [&] { open_token_source(DataFormat::kTokensU32, {odd}); });
  int32_t out[5];
  const auto early = open_token_source(DataFormat::kText, {odd});  // changes before it is first read
  const auto late = open_token_source(DataFormat::kText, {odd});   // and after that
  late->read(0, 0, 5, out);
  fs::resize_file(odd, 2);
  expect_error(kKind, {odd, "5", "2"}, [&] { early->read(0, 0, 5, out); });
  expect_error(kKind, {odd, "5", "2"}, [&] { late->read(0, 0, 5, out); });
}

TEST(TokenSource, MoreFilesThanMayBeOpen) {
  const Folder folder;
  std::vector<std::string> files;
  for (int i = 0; i < 200; ++i)
    files.push_back(folder.write(fmt::format("{:03}", i), std::string(1, static_cast<char>(i))));
  const auto source = open_token_source(DataFormat::kText, files);
  for (int round = 0; round < 2; ++round) {
    for (int64_t i = 0; i < 200; ++i) {
      int32_t token = -1;
      source->read(i, 0, 1, &token);
      EXPECT_EQ(token, i);
    }
  }
}

}  // namespace
}  // namespace longspan
