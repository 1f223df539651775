// From what the user wrote to a list of files.
//
// An entry is a file, a folder (all regular files below it, hidden ones and linked folders aside) or a glob.
// MEGATRON: a prefix of .idx and .bin, a folder or a glob of such. A file that is named must be there and
// readable; what cannot be used inside a folder or a glob is skipped and counted. The list is sorted by path,
// bytewise, and a file that is reached twice is in it once, so it depends neither on the order of the entries
// nor on that of the file system. Raises Error(kData) naming the entry where it matches nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "train/data/data_spec.h"

namespace longspan {

struct DocumentFile {
  std::string path;       // as the user reaches it; a prefix for MEGATRON
  std::string real_path;  // the same without links: who it is
};

struct DocumentFiles {
  std::vector<DocumentFile> files;  // none of them empty
  int64_t num_skipped = 0;          // unreadable, broken links, pipes, linked folders
  int64_t num_empty = 0;
};

DocumentFiles find_document_files(const std::vector<std::string>& entries, DataFormat format);

}  // namespace longspan
