// The tables of the course in docs/: each is printed by the code it is about, so that a reader may change the numbers,
// and a test compares what the pages show with what the program says.
#pragma once

#include <string>
#include <vector>

#include "attention/sequence_layout.h"

namespace longspan::course {

using Words = std::vector<std::string>;

// Raise Error(kConfiguration) naming the word where it is not what is asked for.
int64_t number(const Words& words, size_t place, const char* what, int64_t least);
LayoutType layout(const Words& words, size_t place);

// 01 tensors, layers and stashes
void print_stash(const Words& words);
// 02 groups and mesh
void print_mesh(const Words& words);
// 03 block attention
void print_merge(const Words& words);
// 04 the ring
void print_layout(const Words& words);
void print_hops(const Words& words);
void print_work(const Words& words);
void print_order(const Words& words);
void print_bytes(const Words& words);
// 05 documents
void print_batch(const Words& words);
void print_mask(const Words& words);
// 06 a step read aloud
void print_program(const Words& words);
// 07 the data's way from file to loss
void print_stream(const Words& words);

}  // namespace longspan::course
