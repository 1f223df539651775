// The tile unit: eight tiles of 16 rows of 64 bytes, and sums of products of bfloat16 pairs.
//
// The only place that names tile instructions. Its functions have two bodies: the processor's instructions here, and those
// of the header that LS_EMULATED_TILES names, where tests compute the same bits on a machine without a tile unit.
// All tiles lie in memory as they are in the unit, 1024 bytes without gaps. The bodies here are of our own assembly: the
// intrinsics of g++ 12 take no tile number from a template and let stores to memory pass a tile load.
#pragma once

#ifndef LS_CPU_LEVEL
#error "tiles.h is for sources that are compiled per instruction set"
#endif

#include <cstdint>

namespace longspan::LS_CPU_LEVEL {

constexpr int kTileRows = 16, kTileRowBytes = 64, kNumTiles = 8;

// What LDTILECFG reads.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileShapes) == 64);

}  // namespace longspan::LS_CPU_LEVEL

#if defined(LS_EMULATED_TILES)
#include LS_EMULATED_TILES
#else

namespace longspan::LS_CPU_LEVEL {

#define LS_TILE_FUNCTION inline __attribute__((always_inline)) void

LS_TILE_FUNCTION configure_tiles(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory"); }
LS_TILE_FUNCTION release_tiles() { asm volatile("tilerelease" ::: "memory"); }

template <int kTile>
LS_TILE_FUNCTION load_tile(const void* from) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(int64_t{kTileRowBytes}) : "memory");
}
// For what is used once: does not displace what is in the first cache.
template <int kTile>
LS_TILE_FUNCTION stream_tile(const void* from) {
  asm volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" ::"i"(kTile), "r"(from), "r"(int64_t{kTileRowBytes}) : "memory");
}
template <int kTile>
LS_TILE_FUNCTION store_tile(void* to) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" ::"i"(kTile), "r"(to), "r"(int64_t{kTileRowBytes}) : "memory");
}
template <int kTile>
LS_TILE_FUNCTION zero_tile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile) : "memory");
}
// c[i][j] += sum over k of a[i][2k] b[k][2j] + a[i][2k + 1] b[k][2j + 1]: floats from bfloat16.
template <int kC, int kA, int kB>
LS_TILE_FUNCTION multiply_tiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB) : "memory");
}

#undef LS_TILE_FUNCTION

}  // namespace longspan::LS_CPU_LEVEL

#endif

namespace longspan::LS_CPU_LEVEL {

// Tiles are this thread's own for as long as it lives; after it the system has less to save, and a library may configure
// them in its own way.
class TileSession {
 public:
  TileSession() {
    TileShapes shapes;
    for (int t = 0; t < kNumTiles; ++t) {
      shapes.row_bytes[t] = kTileRowBytes;
      shapes.rows[t] = kTileRows;
    }
    configure_tiles(shapes);
  }
  ~TileSession() { release_tiles(); }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
};

}  // namespace longspan::LS_CPU_LEVEL
