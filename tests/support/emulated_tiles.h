// A tile unit in plain code, bit for bit that of the processor: the body of attention/kernels/cpu/amx/tiles.h where
// LS_EMULATED_TILES names this header. Each thread has its own tiles, as each has in a processor.
//
// Stricter than a processor: what it would refuse, and also the use of a tile before anything was put into it, raises
// std::logic_error. Instructions are counted, so that tests can hold kernels to what they should cost.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longspan::test {

struct EmulatedShapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// `shapes` holds 64 bytes laid out as EmulatedShapes.
void emulate_configure(const void* shapes);
void emulate_release();
void emulate_load(int tile, const void* from, int64_t stride, bool stream);
void emulate_store(int tile, void* to, int64_t stride);
void emulate_zero(int tile);
void emulate_multiply(int c, int a, int b);
[[noreturn]] void refuse_tiles(const char* what);

// Instructions since this thread last cleared them.
struct TileCounts {
  int64_t multiplications = 0, loads = 0, stream_loads = 0, stores = 0, zeros = 0;
};
TileCounts& tile_counts();

}  // namespace longspan::test

#ifdef LS_EMULATED_TILES  // from within tiles.h

namespace longspan::LS_CPU_LEVEL {

inline void configure_tiles(const TileShapes& shapes) { test::emulate_configure(&shapes); }
inline void release_tiles() { test::emulate_release(); }
template <int kTile>
inline void load_tile(const void* from) {
  test::emulate_load(kTile, from, kTileRowBytes, false);
}
template <int kTile>
inline void stream_tile(const void* from) {
  test::emulate_load(kTile, from, kTileRowBytes, true);
}
template <int kTile>
inline void store_tile(void* to) {
  test::emulate_store(kTile, to, kTileRowBytes);
}
template <int kTile>
inline void zero_tile() {
  test::emulate_zero(kTile);
}
template <int kC, int kA, int kB>
inline void multiply_tiles() {
  test::emulate_multiply(kC, kA, kB);
}

}  // namespace longspan::LS_CPU_LEVEL

#endif
