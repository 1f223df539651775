// The GPU of a rank and the environment that NCCL reads.
#include "launcher/gpu.h"

#include <gtest/gtest.h>

#include <map>

#include "parallel/comm/backends.h"

namespace longspan {
namespace {

using Variables = std::map<std::string, std::string>;

Environment environment_of(Variables& variables) {
  return {.get = [&](const char* variable) -> const char* {
            const auto at = variables.find(variable);
            return at == variables.end() ? nullptr : at->second.c_str();
          },
          .set = [&](const std::string& variable, const std::string& value) { variables[variable] = value; }};
}

VisibleDevices gpus(int count) {
  VisibleDevices devices(static_cast<size_t>(count));
  for (size_t i = 0; i < devices.size(); ++i) devices[i][0] = static_cast<uint8_t>(i + 1);
  return devices;
}

// Four ranks on hosts of two.
void on_two_hosts(int num_gpus, bool sharing, Variables before, const std::function<void(int rank, int gpu, Variables)>& then) {
  run_in_process(4, [&](Communicator& world) {
    const int host = world.rank() / 2;
    const auto local = world.split(host, world.rank(), "local ranks");
    Variables variables = before;
    const int gpu = choose_gpu(world, *local, host == 0 ? "a" : "b", gpus(num_gpus), sharing, environment_of(variables));
    then(world.rank(), gpu, variables);
  });
}

TEST(Gpu, ItsOwnNeedsNoEnvironment) {
  for (bool sharing : {false, true}) {
    on_two_hosts(2, sharing, {}, [](int rank, int gpu, const Variables& variables) {
      EXPECT_EQ(gpu, rank % 2);
      EXPECT_TRUE(variables.empty());
    });
  }
}

TEST(Gpu, RanksThatShareCallThemselvesDifferentHosts) {
  on_two_hosts(1, true, {{"NCCL_HOSTID", "of the job"}}, [](int rank, int gpu, const Variables& variables) {
    EXPECT_EQ(gpu, 0);
    const char* ids[] = {"a-0", "a-1", "b-0", "b-1"};
    EXPECT_EQ(variables, (Variables{{"NCCL_HOSTID", ids[rank]}}));  // hosts reach each other through a real network
  });
}

TEST(Gpu, OnOneHostRanksThatShareSpeakThroughTheLoopback) {
  run_in_process(2, [](Communicator& world) {
    Variables variables, chosen = {{"NCCL_SOCKET_IFNAME", "eth1"}};
    choose_gpu(world, world, "a", gpus(1), true, environment_of(variables));
    EXPECT_EQ(variables["NCCL_SOCKET_IFNAME"], "lo");
    EXPECT_EQ(variables.size(), 2u);
    choose_gpu(world, world, "a", gpus(1), true, environment_of(chosen));
    EXPECT_EQ(chosen["NCCL_SOCKET_IFNAME"], "eth1");
  });
}

TEST(Gpu, SharingIsNeverSilent) {
  EXPECT_THROW(on_two_hosts(1, false, {}, [](int, int, const Variables&) {}), Error);
}

TEST(Gpu, TheEnvironmentOfTheProcess) {
  const Environment environment = process_environment();
  EXPECT_EQ(environment.get("LONGSPAN_TEST_OF_THE_ENVIRONMENT"), nullptr);
  environment.set("LONGSPAN_TEST_OF_THE_ENVIRONMENT", "set");
  EXPECT_STREQ(environment.get("LONGSPAN_TEST_OF_THE_ENVIRONMENT"), "set");
}

}  // namespace
}  // namespace longspan
