#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/train/data_fixture.h"
#include "train/formats/atomic_file.h"
#include "train/formats/crc32c.h"
#include "train/formats/event.pb.h"
#include "train/formats/event_writer.h"
#include "train/formats/json_lines.h"
#include "train/formats/mapped_file.h"

namespace longspan {
namespace {

using test::expect_error;
using test::Folder;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(MappedFile, HoldsTheBytes) {
  const Folder folder;
  MappedFile file(folder.write("a", "abc"));
  EXPECT_EQ(file.size_bytes(), 3u);
  MappedFile moved = std::move(file);
  EXPECT_EQ(static_cast<char>(moved.bytes()[2]), 'c');
  moved = MappedFile(folder.write("empty", ""));
  EXPECT_EQ(moved.bytes().size(), 0u);
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const Folder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(ErrorKind::kData, {folder / "pipe"}, [&] { MappedFile{folder / "pipe"}; });
  expect_error(ErrorKind::kData, {folder.path(), "folder"}, [&] { MappedFile{folder.path()}; });
  expect_error(ErrorKind::kCheckpoint, {folder / "absent", "No such file"},
               [&] { MappedFile(folder / "absent", ErrorKind::kCheckpoint); });
}

TEST(MappedFile, NoticesChanges) {
  const Folder folder;
  const MappedFile file(folder.write("a", "abcdef"));
  file.expect_unchanged();
  std::filesystem::resize_file(folder / "a", 2);
  expect_error(ErrorKind::kData, {folder / "a", "6", "2"}, [&] { file.expect_unchanged(); });
}

TEST(Crc32c, KnownValuesAndPieces) {
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes_of(std::string(32, '\0'))), 0x8a9136aau);  // RFC 3720, B.4
  std::string text;
  for (int i = 0; i < 1000; ++i) text.push_back(static_cast<char>(i * 7 + i / 3));
  const auto all = bytes_of(text);
  for (size_t cut = 0; cut <= all.size(); cut += 37) {
    EXPECT_EQ(crc32c(all.subspan(cut), crc32c(all.first(cut))), crc32c(all));
    EXPECT_EQ(crc32c_portable(all.first(cut)), crc32c(all.first(cut)));
    EXPECT_EQ(crc32c_portable(all.subspan(cut), crc32c_portable(all.first(cut))), crc32c(all));
  }
}

TEST(AtomicFile, AppearsWholeOrNotAtAll) {
  const Folder folder;
  write_file_atomically(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("half of it");
    EXPECT_EQ(test::read_file(folder / "a"), "old");
    EXPECT_EQ(test::names_in(folder).size(), 2u);
  }
  EXPECT_EQ(test::read_file(folder / "a"), "old");
  EXPECT_EQ(test::names_in(folder).size(), 1u);
  AtomicFile file(folder / "a");
  file.write("new");
  file.write("er");
  file.commit();
  EXPECT_EQ(test::read_file(folder / "a"), "newer");
  EXPECT_EQ(test::names_in(folder).size(), 1u);
  EXPECT_THROW(file.commit(), Error);
}

TEST(AtomicFile, ErrorsNameThePathAndTheReason) {
  const Folder folder;
  expect_error(ErrorKind::kCheckpoint, {folder / "no/a", "No such file"},
               [&] { write_file_atomically(folder / "no/a", "x"); });
  std::filesystem::create_directories(folder / "a/b");
  expect_error(ErrorKind::kResource, {folder / "a", "cannot rename"},
               [&] { write_file_atomically(folder / "a", "x", ErrorKind::kResource); });
  EXPECT_EQ(test::names_in(folder).size(), 1u) << "the temporary file is still there";
  expect_error(ErrorKind::kCheckpoint, {folder / "absent"}, [&] { fsync_directory(folder / "absent"); });
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  const Folder folder;
  write_file_atomically(folder / "a", "old");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 1000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  expect_error(ErrorKind::kCheckpoint, {folder / "a", "File too large"},
               [&] { write_file_atomically(folder / "a", std::string(5000, 'x')); });
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(test::read_file(folder / "a"), "old");
  EXPECT_EQ(test::names_in(folder).size(), 1u);
}

TEST(JsonLines, NumbersReadBackToTheSameBits) {
  for (const double value : {0.0, -0.0, 1.0, 0.1, 1e-7, 1e22, 123456789012345680.0, 5e-324,
                             1.7976931348623157e308, -2.5, 3.141592653589793, 1.0 / 3}) {
    const std::string line = to_json({{"x", value}});
    const auto parsed = nlohmann::json::parse(line)["x"];
    EXPECT_TRUE(parsed.is_number_float()) << line;
    EXPECT_EQ(std::bit_cast<uint64_t>(parsed.get<double>()), std::bit_cast<uint64_t>(value)) << line;
  }
}

TEST(JsonLines, FieldsKeepTheirOrder) {
  EXPECT_EQ(to_json({{"step", int64_t{3}},
                     {"loss", 0.5},
                     {"mfu", NAN},
                     {"worst", -INFINITY},
                     {"why", "a \"b\"\n\xff"}}),
            "{\"step\": 3, \"loss\": 0.5, \"mfu\": null, \"worst\": null, \"why\": \"a "
            "\\\"b\\\"\\n\xef\xbf\xbd\"}");
  EXPECT_EQ(to_json({}), "{}");
}

TEST(JsonLines, AppendsAndTruncates) {
  const Folder folder;
  const std::string path = folder / "metrics.jsonl";
  truncate_after_step(path, 3);
  EXPECT_TRUE(test::names_in(folder).empty());
  {
    JsonLinesWriter lines(path);
    for (int64_t step = 1; step <= 5; ++step)
      lines.append({{"step", step}, {"loss", 1.0 / static_cast<double>(step)}});
    EXPECT_EQ(test::read_file(folder / "metrics.jsonl").substr(0, 26), "{\"step\": 1, \"loss\": 1.0}\n{");
  }
  std::ofstream(path, std::ios::app) << "garbage\n{\"note\": 1}\n{\"step\": 3, \"lo";
  truncate_after_step(path, 2);
  EXPECT_EQ(test::read_file(folder / "metrics.jsonl"),
            "{\"step\": 1, \"loss\": 1.0}\n{\"step\": 2, \"loss\": 0.5}\n{\"note\": 1}\n");
  truncate_after_step(path, 0);
  EXPECT_EQ(test::read_file(folder / "metrics.jsonl"), "{\"note\": 1}\n");
}

TEST(JsonLines, OpeningDropsATornLine) {
  const Folder folder;
  const std::string path = folder.write("m.jsonl", "{\"step\": 1}\n{\"st");
  JsonLinesWriter(path).append({{"step", int64_t{2}}});
  EXPECT_EQ(test::read_file(folder / "m.jsonl"), "{\"step\": 1}\n{\"step\": 2}\n");
  const std::string torn = folder.write("torn.jsonl", "{\"st");
  JsonLinesWriter(torn).append({});
  EXPECT_EQ(test::read_file(folder / "torn.jsonl"), "{}\n");
  expect_error(ErrorKind::kResource, {folder / "no/m"}, [&] { JsonLinesWriter{folder / "no/m"}; });
}

TEST(JsonLines, WholeFile) {
  const Folder folder;
  write_json_file(folder / "exit_status.json", {{"code", int64_t{0}}, {"reason", "done"}});
  EXPECT_EQ(test::read_file(folder / "exit_status.json"), "{\"code\": 0, \"reason\": \"done\"}\n");
}

template <class T>
T take(std::string_view& rest) {
  T value{};
  if (rest.size() >= sizeof value) std::memcpy(&value, rest.data(), sizeof value);
  rest.remove_prefix(std::min(rest.size(), sizeof value));
  return value;
}

std::vector<event::Event> read_events(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::string_view rest = all;
  std::vector<event::Event> events;
  while (!rest.empty()) {
    const std::string_view length_bytes = rest.substr(0, 8);
    const auto length = take<uint64_t>(rest);
    EXPECT_EQ(take<uint32_t>(rest), masked_crc32c(bytes_of(length_bytes)));
    const std::string_view data = rest.substr(0, length);
    rest.remove_prefix(data.size());
    EXPECT_EQ(take<uint32_t>(rest), masked_crc32c(bytes_of(data)));
    EXPECT_TRUE(events.emplace_back().ParseFromArray(data.data(), static_cast<int>(data.size())));
  }
  return events;
}

TEST(EventWriter, TensorBoardReadsItsRecords) {
  const Folder folder;
  EventWriter writer(folder / "run/tensorboard", 1);
  writer.add_scalars(1, {{"loss", 5.5}, {"grad_norm", 1e-3}});
  writer.add_scalars(2, {{"loss", 5.25}});
  const auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_GT(events[0].wall_time(), 1.6e9);
  EXPECT_EQ(events[1].session_log().status(), event::SessionLog::START);
  EXPECT_EQ(events[1].step(), 1);
  EXPECT_EQ(events[2].step(), 1);
  ASSERT_EQ(events[2].summary().value_size(), 2);
  EXPECT_EQ(events[2].summary().value(1).tag(), "grad_norm");
  EXPECT_EQ(events[2].summary().value(1).simple_value(), 1e-3f);
  EXPECT_EQ(events[3].step(), 2);
  // Resuming opens a file of its own, from which TensorBoard learns where the old one ends.
  EventWriter resumed(folder / "run/tensorboard", 2);
  EXPECT_NE(resumed.path(), writer.path());
  EXPECT_EQ(read_events(resumed.path())[1].step(), 2);
}

TEST(EventWriter, NamesWhatCannotBeWritten) {
  const Folder folder;
  const std::string file = folder.write("a", "x");
  expect_error(ErrorKind::kResource, {file}, [&] { EventWriter(file + "/b", 1); });
}

// The first twelve bytes of nearly every event file there is: a record of 24 bytes.
TEST(EventWriter, MaskIsTheReferences) {
  EXPECT_EQ(masked_crc32c(bytes_of(test::raw<uint64_t>({24}))), 0x224b7fa3u);
}

}  // namespace
}  // namespace longspan
