// longspan verify of a small run on two ranks, of which rank 1 leaves out a hop: planted_verify
#include <cstdlib>
#include <iostream>

#include "launcher/config_spec.h"
#include "launcher/run_verify.h"
#include "tests/train/faulty_kernels.h"

int main() {
  using namespace longspan;
  World world(detect_launch(std::getenv), std::chrono::seconds(60));
  LoadedConfig loaded =
      parse_config("model { num_layers: 2 } mesh { context: 2 } context { layout: STRIPED }", "planted", {});
  resolve(loaded, {.command = Command::kVerify, .num_ranks = world.size(), .read_model = nullptr});
  RankResources resources;
  // Two forwards of attention make the one rank's run; of the mesh's two hops in each layer, the second is left out.
  if (world.rank() == 1) resources.kernels = test::with_fault<BlockAttention, test::SkipsAHop>(3);
  return run_verify(loaded.config, world, world.communicator(), resources, std::cout);
}
