#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/random.h"
#include "tests/train/data_fixture.h"
#include "train/formats/safetensors.h"

namespace longspan {
namespace {

using test::expect_error;
using test::Folder;
using test::raw;

constexpr ErrorKind kKind = ErrorKind::kCheckpoint;

std::string file_bytes(const std::string& header, const std::string& data) {
  return raw<uint64_t>({header.size()}) + header + data;
}

template <class T>
Tensor tensor_of(const std::vector<T>& values, const Shape& shape) {
  std::shared_ptr<void> storage(new T[values.size() + 1], [](void* p) { delete[] static_cast<T*>(p); });
  Tensor tensor(storage, (values.size() + 1) * sizeof(T), shape, dtype_of<T>());
  std::copy(values.begin(), values.end(), static_cast<T*>(storage.get()));
  return tensor;
}

template <class T>
void expect_round_trip(const SafetensorsFile& file, const std::string& name, const Tensor& written) {
  const Tensor read = tensor_of(std::vector<T>(static_cast<size_t>(written.num_elements())), written.shape());
  file.read_into(name, read);
  EXPECT_EQ(std::memcmp(read.raw(), written.raw(), written.num_bytes()), 0) << name;
}

TEST(Safetensors, EveryTypeReadsBackBitForBit) {
  const Folder folder;
  const std::string path = folder / "all.safetensors";
  const Tensor f64 = tensor_of<double>({1.0, -0.0, 1e300, 0.1, NAN, INFINITY}, {2, 3});
  const Tensor f32 = tensor_of<float>({1.5f, -2.25f, 3e38f}, {3});
  const Tensor bf16 = tensor_of<bfloat16>({bfloat16(1.0f), bfloat16(-3.5f)}, {1, 2});
  const Tensor i64 = tensor_of<int64_t>({std::numeric_limits<int64_t>::min()}, {});
  const Tensor i32 = tensor_of<int32_t>({7, -7}, {2});
  const Tensor u8 = tensor_of<uint8_t>({1, 2, 255}, {3});
  const Tensor empty = tensor_of<float>({}, {0, 4});
  write_safetensors(
      path, {safetensors_entry("u8", u8), safetensors_entry("f32", f32), safetensors_entry("i32", i32),
             safetensors_entry("empty", empty), safetensors_entry("bf16", bf16),
             safetensors_entry("f64", f64), safetensors_entry("i64", i64)});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.names(), (std::vector<std::string>{"i64", "f64", "empty", "f32", "i32", "bf16", "u8"}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.info("f64").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(file.info("i64").shape, (std::vector<int64_t>{}));
  EXPECT_EQ(file.info("empty").bytes.size(), 0u);
  EXPECT_EQ(file.info("bf16").dtype, "BF16");
  expect_round_trip<double>(file, "f64", f64);
  expect_round_trip<float>(file, "f32", f32);
  expect_round_trip<bfloat16>(file, "bf16", bf16);
  expect_round_trip<int64_t>(file, "i64", i64);
  expect_round_trip<int32_t>(file, "i32", i32);
  expect_round_trip<uint8_t>(file, "u8", u8);
  expect_round_trip<float>(file, "empty", empty);
  // The data starts aligned, as other readers like it.
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, test::read_file(folder / "all.safetensors").data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
  EXPECT_EQ(test::names_in(folder).size(), 1u) << "the temporary file is still there";
}

TEST(Safetensors, NoTensorsAtAll) {
  const Folder folder;
  write_safetensors(folder / "none.safetensors", {});
  EXPECT_TRUE(SafetensorsFile(folder / "none.safetensors").names().empty());
  EXPECT_TRUE(SafetensorsFile(folder.write("plain.safetensors", file_bytes("{}  ", ""))).names().empty());
}

TEST(Safetensors, FloatingTypesConvert) {
  const Folder folder;
  // 1, -2, the largest, the least subnormal, infinity, NaN, -0
  const std::vector<uint16_t> halves = {0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x7e00, 0x8000, 0x03ff};
  const std::string header =
      R"({"h":{"dtype":"F16","shape":[8],"data_offsets":[1,17]},"b":{"dtype":"U8","shape":[1],)"
      R"("data_offsets":[0,1]},"d":{"dtype":"F64","shape":[1],"data_offsets":[17,25]}})";
  const SafetensorsFile file(
      folder.write("h.safetensors", file_bytes(header, "x" + raw(halves) + raw<double>({0.1}))));
  std::vector<float> out(8);
  file.read("h", {8}, DType::kFloat32, out.data());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  EXPECT_EQ(out[2], 65504.0f);
  EXPECT_EQ(out[3], 0x1p-24f);
  EXPECT_TRUE(std::isinf(out[4]) && std::isnan(out[5]) && out[6] == 0 && std::signbit(out[6]));
  EXPECT_EQ(out[7], 1023 * 0x1p-24f);
  double wide = 0;
  file.read_elements("h", 2, 1, DType::kFloat64, &wide);
  EXPECT_EQ(wide, 65504.0);
  float narrow = 0;
  file.read("d", {1}, DType::kFloat32, &narrow);
  EXPECT_EQ(narrow, 0.1f);
  bfloat16 brief;
  file.read("d", {1}, DType::kBFloat16, &brief);
  EXPECT_EQ(brief.bits, bfloat16(0.1f).bits);
}

TEST(Safetensors, GoldenModelsAreRead) {
  for (const std::string name : {"llama", "llama_llama3rope"}) {
    const SafetensorsFile file(std::string(LS_TEST_DATA) + "/golden/" + name + "/model.safetensors");
    EXPECT_TRUE(file.contains("model.layers.1.self_attn.q_proj.weight"));
    std::vector<double> table(256 * 64);
    file.read("model.embed_tokens.weight", {256, 64}, DType::kFloat64, table.data());
    double sum = 0;
    for (const double x : table) sum += x * x;
    EXPECT_GT(sum, 0);
    EXPECT_TRUE(std::isfinite(sum));
  }
}

TEST(Safetensors, ReadingNamesWhatDoesNotFit) {
  const Folder folder;
  const std::string header =
      R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"f8":{"dtype":"F8_E4M3",)"
      R"("shape":[3],"data_offsets":[16,19]},"i":{"dtype":"I32","shape":[],"data_offsets":[19,23]}})";
  const std::string path = folder.write("a.safetensors", file_bytes(header, std::string(23, '\0')));
  const SafetensorsFile file(path);
  std::vector<double> out(16);
  expect_error(kKind, {path, "'a'", "[2, 2]", "[4]"},
               [&] { file.read("a", {4}, DType::kFloat32, out.data()); });
  expect_error(kKind, {path, "'nothing'"}, [&] { file.read("nothing", {4}, DType::kFloat32, out.data()); });
  expect_error(kKind, {path, "'f8'", "F8_E4M3", "float32"},
               [&] { file.read("f8", {3}, DType::kFloat32, out.data()); });
  expect_error(kKind, {path, "'i'", "I32", "float32"},
               [&] { file.read("i", {}, DType::kFloat32, out.data()); });
  expect_error(kKind, {path, "'a'", "F32", "int32"}, [&] {
    file.read("a", {2, 2}, DType::kInt32, out.data());
  });
  EXPECT_THROW(file.read_elements("a", 3, 2, DType::kFloat32, out.data()), Error);
  std::filesystem::resize_file(path, 100);
  expect_error(kKind, {path, "100"}, [&] { file.read("a", {2, 2}, DType::kFloat32, out.data()); });
}

struct Malformed {
  std::string name, bytes;
  std::vector<std::string> message;
};

std::string one_tensor(const std::string& fields, size_t data_bytes) {
  return file_bytes("{\"t\":{" + fields + "}}", std::string(data_bytes, 'x'));
}

// Two tensors of four bytes at these data_offsets.
std::string two_tensors(const std::string& first, const std::string& second, size_t data_bytes) {
  const std::string tensor = R"({"dtype":"U8","shape":[4],"data_offsets":)";
  return file_bytes("{\"a\":" + tensor + first + "},\"b\":" + tensor + second + "}}",
                    std::string(data_bytes, 'x'));
}

const std::string kFourBytes = R"("dtype":"U8","shape":[4],"data_offsets":[0,4])";

std::vector<Malformed> malformed_layouts() {
  return {
      {"empty", "", {"0 bytes"}},
      {"short", "1234567", {"7 bytes"}},
      {"header_beyond_file", raw<uint64_t>({50}) + "{}", {"50", "2 follow"}},
      {"header_length_overflows", raw<uint64_t>({~uint64_t{0}}) + "{}", {"18446744073709551615"}},
      {"huge_header", raw<uint64_t>({100'000'001}) + "{}", {"100000001"}},
      {"no_brace", file_bytes(" {}", ""), {"does not start with '{'"}},
      {"a_list", file_bytes("[]", ""), {"does not start with '{'"}},
      {"not_json", file_bytes("{\"a\":", ""), {"malformed"}},
      {"text_behind", file_bytes("{} x", ""), {"malformed"}},
      {"not_utf8", file_bytes("{\"\xff\xfe\":{" + kFourBytes + "}}", "xxxx"), {"malformed"}},
      {"overlap", two_tensors("[0,4]", "[3,7]", 7), {"'b'", "[3, 7]", "overlap", "4"}},
      {"same_place", two_tensors("[0,4]", "[0,4]", 4), {"'b'", "overlap"}},
      {"hole", two_tensors("[0,4]", "[5,9]", 9), {"'b'", "[5, 9]", "hole", "4"}},
      {"hole_at_start", one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[1,5])", 5), {"'t'", "hole"}},
      {"backwards",
       one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])", 4),
       {"'t'", "[4, 0]", "backwards"}},
  };
}

std::vector<Malformed> malformed_tensors() {
  return {
      {"negative", one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[-4,0])", 4), {"'t'", "-4"}},
      {"negative_shape",
       one_tensor(R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])", 4),
       {"'t'", "-4", "shape"}},
      {"fraction", one_tensor(R"("dtype":"U8","shape":[4.5],"data_offsets":[0,4])", 4), {"'t'", "4.5"}},
      {"enormous",
       one_tensor(R"("dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,4])", 4),
       {"'t'", "too large"}},
      {"beyond_integers",
       one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[0,99999999999999999999999])", 4),
       {"'t'"}},
      {"shape_overflow",
       one_tensor(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4])", 4),
       {"'t'", "overflows"}},
      {"bits_overflow",
       one_tensor(R"("dtype":"F64","shape":[1152921504606846976],"data_offsets":[0,4])", 4),
       {"'t'", "overflows"}},
      {"part_of_a_byte",
       one_tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1),
       {"'t'", "whole number of bytes"}},
      {"size_mismatch",
       one_tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4),
       {"'t'", "needs 8", "hold 4"}},
      {"truncated", one_tensor(kFourBytes, 3), {"4", "3", "cut short"}},
      {"bytes_behind", one_tensor(kFourBytes, 5), {"4", "5", "follows"}},
      {"duplicate",
       file_bytes("{\"t\":{" + kFourBytes + "},\"t\":{" + kFourBytes + "}}", "xxxx"),
       {"'t'", "twice"}},
      {"duplicate_inside", one_tensor(kFourBytes + R"(,"dtype":"U8")", 4), {"'dtype'", "twice"}},
      {"duplicate_metadata", file_bytes(R"({"__metadata__":{"a":"1","a":"2"}})", ""), {"'a'", "twice"}},
      {"metadata_not_text", file_bytes(R"({"__metadata__":{"a":1}})", ""), {"'a'", "1"}},
      {"unknown_type",
       one_tensor(R"("dtype":"F31","shape":[4],"data_offsets":[0,4])", 4),
       {"'t'", "'F31'", "unknown"}},
      {"type_not_text",
       one_tensor(R"("dtype":7,"shape":[4],"data_offsets":[0,4])", 4),
       {"'t'", "dtype", "7"}},
      {"missing_shape", one_tensor(R"("dtype":"U8","data_offsets":[0,4])", 4), {"'t'", "no shape"}},
      {"three_offsets",
       one_tensor(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])", 4),
       {"'t'", "3 data_offsets"}},
      {"unknown_key", one_tensor(kFourBytes + R"(,"extra":1)", 4), {"'t'", "'extra'"}},
      {"null_tensor", file_bytes(R"({"t":null})", ""), {"'t'", "null"}},
      {"deep", file_bytes("{\"t\":" + std::string(100'000, '['), ""), {"'t'", "list"}},
  };
}

TEST(Safetensors, MalformedFilesAreRefused) {
  const Folder folder;
  std::vector<Malformed> files = malformed_layouts();
  for (const Malformed& file : malformed_tensors()) files.push_back(file);
  for (const Malformed& file : files) {
    SCOPED_TRACE(file.name);
    const std::string path = folder.write(file.name, file.bytes);
    std::vector<std::string> message = file.message;
    message.push_back(path);
    expect_error(kKind, message, [&] { SafetensorsFile{path}; });
  }
  expect_error(kKind, {folder / "absent"}, [&] { SafetensorsFile{folder / "absent"}; });
  expect_error(kKind, {folder.path(), "folder"}, [&] { SafetensorsFile{folder.path()}; });
}

TEST(Safetensors, DamagedFilesNeverReadOutsideOfTheirBytes) {
  const Folder folder;
  const Tensor a = tensor_of<float>({1, 2, 3, 4}, {2, 2}), b = tensor_of<uint8_t>({1, 2, 3}, {3});
  write_safetensors(folder / "whole", {safetensors_entry("a", a), safetensors_entry("b", b)});
  const std::string whole = test::read_file(folder / "whole");
  const RandomStream random(1, "damage");
  for (uint64_t i = 0; i < 400; ++i) {
    std::string damaged = whole;
    for (uint64_t k = 0; k < 1 + i % 3; ++k) {
      // Mostly digits, which is where the lies are.
      const uint64_t bits = random.bits(8 * i + k + 4);
      damaged[random.below(8 * i + k, whole.size())] = static_cast<char>(i % 2 == 0 ? '0' + bits % 10 : bits);
    }
    const std::string path = folder.write("damaged", damaged);
    try {
      const SafetensorsFile file(path);
      for (const std::string& name : file.names()) {
        std::vector<double> out(file.info(name).bytes.size());
        for (const DType dtype : {DType::kFloat64, DType::kUInt8}) {
          const int64_t count = dtype == DType::kUInt8 ? static_cast<int64_t>(out.size()) : 1;
          file.read_elements(name, 0, std::min<int64_t>(count, out.empty() ? 0 : count), dtype, out.data());
        }
      }
    } catch (const Error&) {
    }
  }
}

TEST(Safetensors, WritingRefusesWhatNobodyCouldRead) {
  const Folder folder;
  const Tensor a = tensor_of<float>({1, 2, 3, 4}, {2, 2});
  EXPECT_THROW(write_safetensors(folder / "x", {safetensors_entry("a", a), safetensors_entry("a", a)}),
               Error);
  EXPECT_THROW(safetensors_entry("a", a.slice(1, 0, 1)), Error);
  expect_error(kKind, {folder / "no/x"},
               [&] { write_safetensors(folder / "no/x", {safetensors_entry("a", a)}); });
  EXPECT_TRUE(test::names_in(folder).empty());
}

}  // namespace
}  // namespace longspan
