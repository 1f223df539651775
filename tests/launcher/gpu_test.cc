// The GPU of a rank and the environment that NCCL reads.
#include "launcher/gpu.h"

#include <gtest/gtest.h>

#include <map>

#include "launcher/rank_device.h"
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
void on_two_hosts(int num_gpus, bool sharing, Variables before,
                  const std::function<void(int rank, GpuOfRank gpu, Variables)>& then) {
  run_in_process(4, [&](Communicator& world) {
    const int host = world.rank() / 2;
    const auto local = world.split(host, world.rank(), "local ranks");
    Variables variables = before;
    const GpuOfRank gpu = choose_gpu(world, *local, host == 0 ? "a" : "b", gpus(num_gpus), sharing, environment_of(variables));
    then(world.rank(), gpu, variables);
  });
}

TEST(Gpu, ItsOwnNeedsNoEnvironment) {
  for (bool sharing : {false, true}) {
    on_two_hosts(2, sharing, {}, [](int rank, GpuOfRank gpu, const Variables& variables) {
      EXPECT_EQ(gpu.ordinal, rank % 2);
      EXPECT_EQ(gpu.num_ranks, 1);
      EXPECT_TRUE(variables.empty());
    });
  }
}

TEST(Gpu, RanksThatShareCallThemselvesDifferentHosts) {
  on_two_hosts(1, true, {{"NCCL_HOSTID", "of the job"}}, [](int rank, GpuOfRank gpu, const Variables& variables) {
    EXPECT_EQ(gpu.ordinal, 0);
    EXPECT_EQ(gpu.num_ranks, 2);
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
  EXPECT_THROW(on_two_hosts(1, false, {}, [](int, GpuOfRank, const Variables&) {}), Error);
}

TEST(Gpu, RanksDivideItsMemory) {
  const CudaDeviceFacts facts{
      .name = "NVIDIA A100", .major = 8, .minor = 0, .total_bytes = 80'000'000'000, .free_bytes = 60'000};
  const RankDevice own = describe_gpu(facts, 1, 1), shared = describe_gpu(facts, 1, 4);
  EXPECT_EQ(own.device, (Device{DeviceType::kCuda, 1}));
  EXPECT_EQ(own.description, "NVIDIA A100 (compute capability 8.0, 80.0 GB)");
  EXPECT_EQ(own.memory_bytes, 60'000);
  EXPECT_EQ(own.note, "");
  EXPECT_EQ(shared.memory_bytes, 15'000);
  EXPECT_NE(shared.note.find("4 ranks share NVIDIA A100"), std::string::npos) << shared.note;
}

TEST(Gpu, OlderOnesThanKernelsAreRefused) {
  const CudaDeviceFacts volta{.name = "Tesla V100", .major = 7, .minor = 0};
  try {
    describe_gpu(volta, 0, 1);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    EXPECT_NE(std::string(error.what()).find("Tesla V100, has compute capability 7.0; kernels need 8.0"), std::string::npos)
        << error.what();
  }
}

TEST(Gpu, TheEnvironmentOfTheProcess) {
  const Environment environment = process_environment();
  EXPECT_EQ(environment.get("LONGSPAN_TEST_OF_THE_ENVIRONMENT"), nullptr);
  environment.set("LONGSPAN_TEST_OF_THE_ENVIRONMENT", "set");
  EXPECT_STREQ(environment.get("LONGSPAN_TEST_OF_THE_ENVIRONMENT"), "set");
}

}  // namespace
}  // namespace longspan
