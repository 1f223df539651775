#include "parallel/comm/process_mesh.h"

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

// The ranks of the world that are in a group, by their rank in it.
std::vector<int64_t> members(const Context& context, Communicator& world, Communicator& group) {
  const Tensor mine = filled<int64_t>(context, {1}, [&](int64_t) { return world.rank(); });
  const Tensor all = context.zeros({group.size(), 1}, DType::kInt64);
  group.all_gather(context.stream(), mine, all);
  return {all.data<int64_t>(), all.data<int64_t>() + group.size()};
}

void check_mesh(int data, int context_degree) {
  run_in_process(data * context_degree, [&](Communicator& world) {
    const Context context = make_context();
    const ProcessMesh mesh(world, {.data = data, .context = context_degree});
    const int row = world.rank() / context_degree, column = world.rank() % context_degree;
    EXPECT_EQ(mesh.coordinate(Axis::kPipeline), 0);
    EXPECT_EQ(mesh.coordinate(Axis::kData), row);
    EXPECT_EQ(mesh.coordinate(Axis::kContext), column);
    EXPECT_EQ(mesh.coordinate(Axis::kTensor), 0);
    EXPECT_EQ(mesh.axis(Axis::kPipeline).size(), 1);
    EXPECT_EQ(mesh.axis(Axis::kTensor).size(), 1);
    EXPECT_EQ(mesh.axis(Axis::kData).rank(), row);
    EXPECT_EQ(mesh.axis(Axis::kContext).rank(), column);
    EXPECT_EQ(mesh.axis(Axis::kContext).name(), "context");
    std::vector<int64_t> in_row, in_column, all;
    for (int c = 0; c < context_degree; ++c) in_row.push_back(row * context_degree + c);
    for (int d = 0; d < data; ++d) in_column.push_back(d * context_degree + column);
    for (int r = 0; r < world.size(); ++r) all.push_back(r);
    EXPECT_EQ(members(context, world, mesh.axis(Axis::kContext)), in_row);
    EXPECT_EQ(members(context, world, mesh.axis(Axis::kData)), in_column);
    EXPECT_EQ(members(context, world, mesh.replicas()), all);
    EXPECT_EQ(&mesh.world(), &world);
  });
}

TEST(ProcessMesh, CoordinatesAndGroupsOfManyShapes) {
  for (int data = 1; data <= 4; ++data) {
    for (int context = 1; data * context <= 8; ++context) check_mesh(data, context);
  }
  check_mesh(8, 1);
}

// Rank ((p 2 + d) 2 + c) 2 + t.
TEST(ProcessMesh, KnowsWhoHoldsTheSameAndWhoHoldsTheRest) {
  run_in_process(16, [&](Communicator& world) {
    const Context context = make_context();
    const ProcessMesh mesh(world, {.pipeline = 2, .data = 2, .context = 2, .tensor = 2});
    const int64_t rank = world.rank(), tensor = rank % 2, replica = rank / 2 % 4, stage = rank / 8;
    EXPECT_EQ(mesh.coordinate(Axis::kPipeline), stage);
    std::vector<int64_t> same, rest;
    for (int64_t r = 0; r < 4; ++r) same.push_back(8 * stage + 2 * r + tensor);
    for (const int64_t part : {0, 1, 8, 9}) rest.push_back(part + 2 * replica);
    EXPECT_EQ(members(context, world, mesh.replicas()), same);
    EXPECT_EQ(members(context, world, mesh.parts()), rest);
    EXPECT_EQ(mesh.parts().rank(), 2 * stage + tensor);
    const std::vector<int64_t> stages = {rank % 8, rank % 8 + 8};
    EXPECT_EQ(members(context, world, mesh.axis(Axis::kPipeline)), stages);
  });
  run_in_process(4, [&](Communicator& world) {
    const ProcessMesh stages(world, {.pipeline = 4}), heads(world, {.data = 2, .tensor = 2});
    EXPECT_EQ(&stages.parts(), &stages.axis(Axis::kPipeline)) << "no group more than is needed";
    EXPECT_EQ(&heads.parts(), &heads.axis(Axis::kTensor));
  });
}

// Ranks that were dealt to the hosts in turn, and hosts of 3 and 5 ranks: groups are of neighbours on a host, and rank 0 is
// first.
TEST(ProcessMesh, TakesPlacesByHost) {
  const std::vector<std::vector<int>> many_hosts = {{0, 1, 0, 1, 0, 1, 0, 1}, {1, 0, 0, 1, 0, 0, 0, 1}, {4, 4, 4, 2, 2, 2, 2, 2}};
  for (const std::vector<int>& hosts : many_hosts) {
    const MeshShape shape = {.data = 2, .context = 2, .tensor = 2};
    const MeshMap map(shape, hosts);
    run_in_process(8, [&](Communicator& world) {
      world.place_on_hosts(hosts);
      const Context context = make_context();
      const auto log = std::make_shared<CommLog>();
      const auto recording = make_recording_communicator(world, log);
      const ProcessMesh mesh(*recording, shape);
      for (const Axis axis : kAxes) {
        EXPECT_EQ(mesh.coordinate(axis), map.coordinate_of(world.rank(), axis));
        EXPECT_EQ(mesh.axis(axis).rank(), mesh.coordinate(axis));
        std::vector<int64_t> expected;
        for (int c = 0; c < shape[axis]; ++c) expected.push_back(map.rank_along(world.rank(), axis, c));
        EXPECT_EQ(members(context, *recording, mesh.axis(axis)), expected) << name(axis);
      }
      EXPECT_EQ(mesh.replicas().rank(), 2 * mesh.coordinate(Axis::kData) + mesh.coordinate(Axis::kContext));
      EXPECT_EQ(mesh.replicas().size(), 4);
      EXPECT_EQ(mesh.map().place_of(0), 0);
      EXPECT_EQ(mesh.map().ranks_per_host(Axis::kTensor), map.ranks_per_host(Axis::kTensor));
    });
  }
  run_in_process(2, [](Communicator& world) {
    EXPECT_EQ(world.hosts(), (std::vector{0, 0})) << "on one, unless said";
    EXPECT_THROW(world.place_on_hosts({0}), Error);
  });
}

std::string refusal(int size, const MeshShape& shape) {
  return message_of<Error>([&] {
    run_in_process(size, [&](Communicator& world) {
      try {
        const ProcessMesh mesh(world, shape);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
        throw;
      }
    });
  });
}

TEST(ProcessMesh, RefusesWhatDoesNotFit) {
  EXPECT_EQ(refusal(3, {.data = 2, .context = 2}),
            "mesh: pipeline 1 x data 2 x context 2 x tensor 1 has 4 ranks, but this run has 3: start it with 4, or leave mesh "
            "out");
  EXPECT_EQ(refusal(1, {.data = 65536, .context = 65536}).substr(0, 84),
            "mesh: pipeline 1 x data 65536 x context 65536 x tensor 1 has at least 4294967296 ran");
  EXPECT_EQ(refusal(1, {.context = 0}), "mesh.context: 0 is not a number of ranks; use 1 or more");
}

}  // namespace
}  // namespace longspan::test
