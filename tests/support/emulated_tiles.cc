#include <immintrin.h>

#include <cstring>

#include "attention/kernels/cpu/amx/tiles.h"  // includes emulated_tiles.h

namespace longspan::test {

namespace {

constexpr int kTiles = 8, kMostRows = 16, kMostRowBytes = 64;

struct Tile {
  alignas(64) uint8_t rows[kMostRows][kMostRowBytes];
  int num_rows = 0, row_bytes = 0;
  bool holds_something = false;
};

struct Unit {
  Tile tiles[kTiles];
  bool configured = false;
  TileCounts counts;
};

Unit& unit() {
  thread_local Unit u;
  return u;
}

void require(bool ok, const char* what) {
  if (!ok) refuse_tiles(what);
}

Tile& tile_at(int i) {
  require(i >= 0 && i < kTiles, "no such tile");
  require(unit().configured, "tiles are used before they are configured");
  return unit().tiles[i];
}

Tile& filled_tile(int i) {
  Tile& tile = tile_at(i);
  require(tile.holds_something, "a tile is used before anything was put into it");
  return tile;
}

// The manual's order of operations: pairs' even and odd products are summed apart, by fused multiply-adds that begin at 0,
// then added to one another, and that to c. Denormals count as zero going in and coming out (see emulate_multiply).
__attribute__((noinline)) void multiply_rows(Tile& c, const Tile& a, const Tile& b) {
  const int depth = a.row_bytes / 4;
  const auto lanes = static_cast<__mmask16>((1u << (c.row_bytes / 4)) - 1u);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int m = 0; m < c.num_rows; ++m) {
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (int k = 0; k < depth; ++k) {
      uint32_t pair;
      std::memcpy(&pair, a.rows[m] + 4 * k, sizeof pair);
      const __m512i a_pair = _mm512_set1_epi32(static_cast<int>(pair)), b_pairs = _mm512_load_si512(b.rows[k]);
      const __m512 a_even = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, a_pair, 16));
      const __m512 b_even = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, b_pairs, 16));
      even = _mm512_fmadd_ps(a_even, b_even, even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(a_pair, upper)),
                            _mm512_castsi512_ps(_mm512_and_si512(b_pairs, upper)), odd);
    }
    const __m512 sum = _mm512_add_ps(_mm512_load_ps(c.rows[m]), _mm512_add_ps(even, odd));
    _mm512_store_ps(c.rows[m], _mm512_maskz_mov_ps(lanes, sum));
  }
}

}  // namespace

void emulate_configure(const void* shapes) {
  EmulatedShapes s;
  static_assert(sizeof s == 64);
  std::memcpy(&s, shapes, sizeof s);
  require(s.palette == 1 && s.start_row == 0, "only palette 1 from row 0 is emulated");
  for (int i = 0; i < kTiles; ++i) {
    require(s.rows[i] <= kMostRows && s.row_bytes[i] <= kMostRowBytes, "a tile has at most 16 rows of 64 bytes");
    require((s.rows[i] == 0) == (s.row_bytes[i] == 0), "a tile has rows of no bytes, or bytes of no rows");
    Tile& tile = unit().tiles[i];
    std::memset(tile.rows, 0, sizeof tile.rows);
    tile.num_rows = s.rows[i];
    tile.row_bytes = s.row_bytes[i];
    tile.holds_something = false;
  }
  unit().configured = true;
}

void emulate_release() { unit().configured = false; }

void emulate_load(int i, const void* from, int64_t stride, bool stream) {
  Tile& tile = tile_at(i);
  std::memset(tile.rows, 0, sizeof tile.rows);
  for (int r = 0; r < tile.num_rows; ++r) {
    std::memcpy(tile.rows[r], static_cast<const char*>(from) + r * stride, static_cast<size_t>(tile.row_bytes));
  }
  tile.holds_something = true;
  ++(stream ? unit().counts.stream_loads : unit().counts.loads);
}

void emulate_store(int i, void* to, int64_t stride) {
  const Tile& tile = filled_tile(i);
  for (int r = 0; r < tile.num_rows; ++r) {
    std::memcpy(static_cast<char*>(to) + r * stride, tile.rows[r], static_cast<size_t>(tile.row_bytes));
  }
  ++unit().counts.stores;
}

void emulate_zero(int i) {
  Tile& tile = tile_at(i);
  std::memset(tile.rows, 0, sizeof tile.rows);
  tile.holds_something = true;
  ++unit().counts.zeros;
}

void emulate_multiply(int c, int a, int b) {
  Tile& to = filled_tile(c);
  const Tile &left = filled_tile(a), &right = filled_tile(b);
  require(c != a && c != b && a != b, "the three tiles of a product must differ");
  require(to.num_rows == left.num_rows && to.row_bytes == right.row_bytes && left.row_bytes / 4 == right.num_rows,
          "the shapes of a product do not fit");
  require(left.row_bytes % 4 == 0 && right.row_bytes % 4 == 0, "rows of a product are pairs");
  // The instruction neither reads nor writes MXCSR: it rounds to nearest even and takes denormals for zero.
  constexpr unsigned kMaskAll = 0x1f80, kDenormalsAreZero = 0x40, kFlushToZero = 0x8000;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(kMaskAll | kDenormalsAreZero | kFlushToZero);
  multiply_rows(to, left, right);
  _mm_setcsr(before);
  ++unit().counts.multiplications;
}

TileCounts& tile_counts() { return unit().counts; }

}  // namespace longspan::test
