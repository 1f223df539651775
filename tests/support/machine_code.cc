#include "tests/support/machine_code.h"

#include <cxxabi.h>
#include <elf.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <regex>
#include <stdexcept>

namespace longspan::test {

namespace {

using Bytes = std::span<const uint8_t>;

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("machine code: " + what);
}

template <class T>
T read(Bytes bytes, size_t at) {
  expect(at <= bytes.size() && sizeof(T) <= bytes.size() - at, "cut short");
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}
Bytes part(Bytes bytes, size_t at, size_t size) {
  expect(at <= bytes.size() && size <= bytes.size() - at, "cut short");
  return bytes.subspan(at, size);
}
std::string text(Bytes bytes, size_t at) {
  const Bytes rest = part(bytes, at, bytes.size() - std::min(at, bytes.size()));
  return {reinterpret_cast<const char*>(rest.data()), strnlen(reinterpret_cast<const char*>(rest.data()), rest.size())};
}

struct Section {
  std::string name;
  Elf64_Shdr header;
  Bytes bytes;
};

std::vector<Section> sections_of(Bytes file) {
  const auto header = read<Elf64_Ehdr>(file, 0);
  expect(std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64, "no ELF file of 64 bits");
  std::vector<Section> sections(header.e_shnum);
  for (size_t i = 0; i < sections.size(); ++i) {
    Section& s = sections[i];
    s.header = read<Elf64_Shdr>(file, header.e_shoff + i * sizeof(Elf64_Shdr));
    if (s.header.sh_type != SHT_NOBITS) s.bytes = part(file, s.header.sh_offset, s.header.sh_size);
  }
  expect(header.e_shstrndx < sections.size(), "no names of sections");
  for (Section& s : sections) s.name = text(sections[header.e_shstrndx].bytes, s.header.sh_name);
  return sections;
}

std::string short_name(const std::string& mangled) {
  const std::unique_ptr<char, void (*)(void*)> demangled(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, nullptr),
                                                         std::free);
  std::string name = demangled ? demangled.get() : mangled;
  name = std::regex_replace(name, std::regex(R"(\(anonymous namespace\)::|longspan::(cuda::)?|^void )"), "");
  return name.substr(0, name.find('('));
}

// Attributes of kernels that nvcc writes down beside the code: a format, an attribute, and a value in place or its size.
enum Attribute : uint8_t { kMaxThreads = 0x05, kFrameBytes = 0x11, kRegisters = 0x2f };

template <class Visit>
void for_each_attribute(Bytes info, Visit visit) {
  constexpr uint8_t kSized = 4;
  for (size_t at = 0; at < info.size();) {
    const auto format = read<uint8_t>(info, at), attribute = read<uint8_t>(info, at + 1);
    const auto value = read<uint16_t>(info, at + 2);
    at += 4;
    const Bytes sized = format == kSized ? part(info, at, value) : Bytes{};
    at += sized.size();
    visit(attribute, sized);
  }
}

void read_attributes_of_one(MachineKernel& kernel, Bytes info) {
  for_each_attribute(info, [&](uint8_t attribute, Bytes value) {
    if (attribute == kMaxThreads) kernel.most_threads = static_cast<int>(read<uint32_t>(value, 0));
  });
}

std::vector<MachineKernel> kernels_of(Bytes file, int architecture) {
  const std::vector<Section> sections = sections_of(file);
  const auto find = [&](const std::string& name) {
    for (const Section& s : sections)
      if (s.name == name) return &s;
    return static_cast<const Section*>(nullptr);
  };
  const Section *symbols = find(".symtab"), *strings = find(".strtab"), *info = find(".nv.info");
  expect(symbols && strings && info, "no symbols or no attributes");
  std::map<std::string, MachineKernel> kernels;  // by mangled name
  constexpr const char* kText = ".text.";
  for (const Section& s : sections) {
    if (!s.name.starts_with(kText)) continue;
    const std::string mangled = s.name.substr(std::strlen(kText));
    MachineKernel& kernel = kernels[mangled];
    kernel.name = short_name(mangled);
    kernel.architecture = architecture;
    kernel.instructions = count_instructions(s.bytes);
    if (const Section* own = find(".nv.info." + mangled)) read_attributes_of_one(kernel, own->bytes);
    if (const Section* shared = find(".nv.shared." + mangled)) {
      kernel.static_shared_bytes = static_cast<int>(shared->header.sh_size);
    }
  }
  for_each_attribute(info->bytes, [&](uint8_t attribute, Bytes value) {
    if (attribute != kRegisters && attribute != kFrameBytes) return;
    const auto symbol = read<Elf64_Sym>(symbols->bytes, read<uint32_t>(value, 0) * sizeof(Elf64_Sym));
    const auto kernel = kernels.find(text(strings->bytes, symbol.st_name));
    if (kernel == kernels.end()) return;
    (attribute == kRegisters ? kernel->second.registers : kernel->second.stack_bytes) =
        static_cast<int>(read<uint32_t>(value, 4));
  });
  std::vector<MachineKernel> list;
  for (auto& [mangled, kernel] : kernels) list.push_back(std::move(kernel));
  return list;
}

// A bundle of code for several GPUs: a header, and entries with headers of their own.
void read_bundle(Bytes entries, std::vector<MachineKernel>& kernels) {
  constexpr uint16_t kMachineCode = 2;
  constexpr uint64_t kCompressed = 0x2000 | 0x8000;
  for (size_t at = 0; at < entries.size();) {
    const auto header_bytes = read<uint32_t>(entries, at + 4);
    const auto payload_bytes = read<uint64_t>(entries, at + 8);
    if (read<uint16_t>(entries, at) == kMachineCode) {
      expect((read<uint64_t>(entries, at + 40) & kCompressed) == 0, "it is compressed; compile with -no-compress");
      for (MachineKernel& kernel :
           kernels_of(part(entries, at + header_bytes, payload_bytes), static_cast<int>(read<uint32_t>(entries, at + 28))))
        kernels.push_back(std::move(kernel));
    }
    expect(header_bytes > 0, "an entry without a header");
    at += header_bytes + payload_bytes;
  }
}

}  // namespace

Instructions count_instructions(std::span<const uint8_t> code) {
  static const std::map<unsigned, const char*> names = {{0x03c, "HMMA"}, {0x03b, "LDSM"}, {0x1ae, "LDGSTS"}, {0x183, "LDL"},
                                                        {0x187, "STL"},  {0x181, "LDG"},  {0x186, "STG"}};
  Instructions counts;
  constexpr uint64_t kSixteenBytes = 6;  // in bits 73 to 75 of loads and stores
  for (size_t at = 0; at + 16 <= code.size(); at += 16) {
    const auto found = names.find(read<uint64_t>(code, at) & 0x1ff);
    if (found == names.end()) continue;
    const std::string name = found->second;
    ++counts[name];
    if ((name == "LDG" || name == "STG") && (read<uint64_t>(code, at + 8) >> 9 & 7) == kSixteenBytes) ++counts[name + ".128"];
  }
  return counts;
}

std::vector<MachineKernel> read_machine_code(std::span<const uint8_t> object) {
  constexpr uint32_t kMagic = 0xba55ed50;
  std::vector<MachineKernel> kernels;
  for (const Section& s : sections_of(object)) {
    if (s.name != ".nv_fatbin") continue;
    for (size_t at = 0; at < s.bytes.size();) {
      if (read<uint32_t>(s.bytes, at) == 0) {  // bundles begin at whole words
        at += 4;
        continue;
      }
      expect(read<uint32_t>(s.bytes, at) == kMagic, "no bundle of code");
      const size_t header = read<uint16_t>(s.bytes, at + 6), size = read<uint64_t>(s.bytes, at + 8);
      read_bundle(part(s.bytes, at + header, size), kernels);
      at += header + size;
    }
  }
  expect(!kernels.empty(), "none for a GPU");
  return kernels;
}

}  // namespace longspan::test
