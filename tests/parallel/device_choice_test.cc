// Which GPU each rank of a host takes.
#include "parallel/comm/device_choice.h"

#include <set>

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

DeviceUuid gpu(int number) {
  DeviceUuid uuid{};
  uuid[0] = static_cast<uint8_t>(number);
  uuid[15] = 7;
  return uuid;
}

VisibleDevices gpus(std::initializer_list<int> numbers) {
  VisibleDevices devices;
  for (int number : numbers) devices.push_back(gpu(number));
  return devices;
}

using Ordinals = std::vector<int>;

void expect_choice(const std::vector<VisibleDevices>& visible, const Ordinals& ordinals) {
  for (bool sharing : {false, true}) {
    const DeviceChoice choice = choose_devices(visible, sharing);
    EXPECT_EQ(choice.ordinals, ordinals);
    EXPECT_FALSE(choice.shared());
    EXPECT_EQ(choice.loads, Ordinals(visible.size(), 1));
  }
}

std::string refusal(const std::vector<VisibleDevices>& visible, bool sharing = false) {
  return message_of<Error>([&] { choose_devices(visible, sharing); });
}

TEST(DeviceChoice, RanksThatSeeAllTakeThatOfTheirNumber) {
  expect_choice({gpus({0, 1, 2, 3}), gpus({0, 1, 2, 3}), gpus({0, 1, 2, 3}), gpus({0, 1, 2, 3})}, {0, 1, 2, 3});
  expect_choice({gpus({5, 6, 7}), gpus({5, 6, 7})}, {0, 1});
  expect_choice({gpus({4})}, {0});
}

TEST(DeviceChoice, RanksThatSeeOnlyTheirOwnTakeNumberZero) {
  expect_choice({gpus({2}), gpus({0}), gpus({1})}, {0, 0, 0});
}

TEST(DeviceChoice, GroupsOfRanksThatSeePartsOfTheHost) {
  expect_choice({gpus({0, 1}), gpus({0, 1}), gpus({2, 3}), gpus({2, 3})}, {0, 1, 0, 1});
}

TEST(DeviceChoice, ARankMovesWhenAnotherSeesOnlyItsDevice) {
  expect_choice({gpus({0, 1}), gpus({0})}, {1, 0});
  expect_choice({gpus({0, 1}), gpus({0, 2}), gpus({0})}, {1, 1, 0});
  // The move of one makes another move.
  expect_choice({gpus({0, 1}), gpus({1, 2}), gpus({0}), gpus({3})}, {1, 1, 0, 0});
}

TEST(DeviceChoice, FewerDevicesThanRanksAreRefused) {
  const std::string message = refusal({gpus({0, 1}), gpus({0, 1}), gpus({0, 1})});
  EXPECT_TRUE(contains(message, "3 ranks on this host see 2 GPUs")) << message;
  EXPECT_TRUE(contains(message, "communication.device_sharing")) << message;
  // Number 0 of both, but the same device.
  EXPECT_TRUE(contains(refusal({gpus({5}), gpus({5})}), "2 ranks on this host see 1 GPUs"));
  // Enough devices, but two ranks see the same one alone.
  EXPECT_TRUE(contains(refusal({gpus({0}), gpus({0}), gpus({1, 2})}), "3 ranks on this host see 3 GPUs"));
}

TEST(DeviceChoice, SharingIsEven) {
  const VisibleDevices two = gpus({8, 9});
  const DeviceChoice choice = choose_devices({two, two, two, two, two}, true);
  EXPECT_EQ(choice.ordinals, (Ordinals{0, 1, 0, 1, 0}));
  EXPECT_TRUE(choice.shared());
  EXPECT_EQ(choose_devices({gpus({5}), gpus({5}), gpus({5, 6})}, true).ordinals, (Ordinals{0, 0, 1}));
}

TEST(DeviceChoice, ARankWithoutDevicesIsRefusedEvenWithSharing) {
  for (bool sharing : {false, true}) {
    EXPECT_TRUE(contains(refusal({gpus({0}), {}}, sharing), "rank 1 of 2 on this host sees 0 GPUs"));
  }
}

TEST(DeviceChoice, RanksLearnFromEachOtherWhatTheySee) {
  run_in_process(3, [](Communicator& local) {
    const VisibleDevices seen[] = {gpus({0, 1}), gpus({0}), gpus({4, 0, 1})};
    const DeviceChoice choice = choose_devices(local, seen[local.rank()], false);
    EXPECT_EQ(choice.ordinals, (Ordinals{1, 0, 0}));
    const std::string message =
        message_of<Error>([&] { choose_devices(local, local.rank() == 2 ? gpus({}) : gpus({1}), true); });
    EXPECT_TRUE(contains(message, "rank 2 of 3 on this host sees 0 GPUs")) << message;
  });
  run_in_process(2, [](Communicator& local) {
    EXPECT_TRUE(contains(message_of<Error>([&] { choose_devices(local, {}, true); }), "rank 0 of 2"));
    EXPECT_EQ(choose_devices(local, gpus({3}), true).ordinals, (Ordinals{0, 0}));
  });
}

TEST(DeviceChoice, TheDevicesOfThisProcessAreDifferent) {
  const VisibleDevices devices = visible_devices();
  EXPECT_EQ(std::set<DeviceUuid>(devices.begin(), devices.end()).size(), devices.size());
}

}  // namespace
}  // namespace longspan::test
