// Reading configurations: every mistake is named with its place and the nearest thing that exists.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/base/error.h"
#include "launcher/config_file.h"
#include "launcher/nearest_match.h"
#include "launcher/text_outline.h"

namespace longspan {
namespace {

using Overrides = std::vector<std::string>;

std::string refusal(const std::string& text, const Overrides& overrides = {}) {
  try {
    parse_config(text, "run.textproto", overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    return error.what();
  }
  return "no error";
}

config::RunConfig parsed(const std::string& text, const Overrides& overrides = {}) {
  return parse_config(text, "run.textproto", overrides).config;
}

TEST(NearestMatch, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("abc", ""), 3);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("trian", "train"), 1);
}

TEST(NearestMatch, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest_match("zzzzzz", {"train", "evaluate"}), "");
  EXPECT_EQ(nearest_match("x", {"a", "b"}), "");
  EXPECT_EQ(nearest_match("TRAIN", {"train", "evaluate"}), "train");
  EXPECT_EQ(nearest_match(std::string(1000, 't'), {"train"}), "");
}

TEST(TextOutline, KnowsTheMessagesAround) {
  const TextOutline outline("a { b: 1\n  c < d: \"}\" # }\n e: 2 > f: 3 }\ng: 4");
  EXPECT_EQ(outline.depth(), 2);
  EXPECT_EQ(outline.messages_around({0, 4}), (std::vector<std::string>{"a"}));
  EXPECT_EQ(outline.messages_around({2, 1}), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(outline.messages_around({2, 9}), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(outline.messages_around({3, 0}).empty());
  EXPECT_EQ(TextOutline("blend: [{ x: 1 }, { y: 2 }]").messages_around({0, 20}), (std::vector<std::string>{"blend"}));
}

TEST(ConfigText, NamesAnUnknownFieldAndItsNearestMatch) {
  EXPECT_EQ(refusal("seed: 1\nmodel {\n  hiden_size: 3\n}\n"),
            "run.textproto:3:3: model has no field \"hiden_size\"; did you mean \"hidden_size\"?");
  EXPECT_EQ(refusal("modle { }"), "run.textproto:1:1: the configuration has no field \"modle\"; did you mean \"model\"?");
}

TEST(ConfigText, FindsAFieldThatBelongsElsewhere) {
  EXPECT_EQ(refusal("beta_fast: 3"),
            "run.textproto:1:1: the configuration has no field \"beta_fast\"; did you mean "
            "\"model.rope.scaling.beta_fast\"?");
}

TEST(ConfigText, CollectsEveryUnknownField) {
  const std::string text = refusal("sed: 1\nmodel { rope { teta: 2 } }\nmesh { contxt: 2 }\n", {"traning.steps=3"});
  EXPECT_NE(text.find("run.textproto:1:1: the configuration has no field \"sed\""), std::string::npos) << text;
  EXPECT_NE(text.find("run.textproto:2:16: model.rope has no field \"teta\"; did you mean \"theta\"?"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("run.textproto:3:8: mesh has no field \"contxt\"; did you mean \"context\"?"), std::string::npos)
      << text;
  EXPECT_NE(text.find("--set traning.steps=3: the configuration has no field \"traning\"; did you mean \"training\"?"),
            std::string::npos);
}

TEST(ConfigText, NamesAnUnknownEnumValue) {
  EXPECT_EQ(refusal("context { layout: STRIPE }"),
            "run.textproto:1:19: context.layout is \"STRIPE\"; allowed are CONTIGUOUS, ZIGZAG, STRIPED, AREA; did you mean "
            "\"STRIPED\"?");
}

TEST(ConfigText, RefusesWhatIsNotWellFormed) {
  EXPECT_EQ(refusal("seed: 1 seed: 2").substr(0, 21), "run.textproto:1:9: No");
  EXPECT_NE(refusal("seed: 1 seed: 2").find("specified multiple times"), std::string::npos);
  EXPECT_NE(refusal("model { } model { }").find("specified multiple times"), std::string::npos);
  EXPECT_EQ(refusal("seed: abc"), "run.textproto:1:7: seed: Expected integer, got: abc");
  EXPECT_NE(refusal("seed: -1").find("run.textproto:1:7"), std::string::npos);
  EXPECT_NE(refusal("seed: 99999999999999999999999").find("out of range"), std::string::npos);
  EXPECT_NE(refusal("training { steps: 3.5 }").find("run.textproto:1:"), std::string::npos);
  EXPECT_NE(refusal("model {").find("run.textproto:1:"), std::string::npos);
  EXPECT_NE(refusal("name: \"open").find("run.textproto:1:"), std::string::npos);
  EXPECT_NE(refusal("}").find("run.textproto:1:1"), std::string::npos);
}

TEST(ConfigText, RefusesHostileFiles) {
  std::string deep, unknown;
  for (int i = 0; i < 10000; ++i) deep += "model { ", unknown += "x{";
  EXPECT_EQ(refusal(deep), "run.textproto:1:79999: messages and lists nest 10000 deep; at most 100 are allowed");
  EXPECT_NE(refusal(unknown).find("nest 10000 deep"), std::string::npos);
  EXPECT_NE(refusal("model={" + std::string(1, '\0')).find("binary"), std::string::npos);
  EXPECT_NE(refusal("\x7f" "ELF\x02\x01").find("run.textproto:1:1"), std::string::npos);
  EXPECT_NE(refusal(std::string(kMaxConfigBytes + 1, '#')).find("1048576"), std::string::npos);
  EXPECT_NE(refusal("", {"model=" + deep}).find("nests 10001 deep; at most 100"), std::string::npos);
}

TEST(ConfigText, AcceptsNothingAtAll) {
  EXPECT_EQ(print_config(parsed("")), "");
  EXPECT_EQ(print_config(parsed("# only a comment")), "");
}

TEST(ConfigText, AByteOrderMarkIsNoText) {
  const std::string path = testing::TempDir() + "byte_order_mark.textproto";
  std::ofstream(path) << "\xef\xbb\xbfseed: 7";
  EXPECT_EQ(load_config(path, {}).config.seed(), 7u);
}

TEST(ConfigText, SaysWhichFileCannotBeRead) {
  try {
    load_config("no/such/file.textproto", {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot read the configuration no/such/file.textproto: No such file or directory");
  }
  EXPECT_THROW(load_config(".", {}), Error);
}

TEST(ConfigText, RemembersWhereValuesCameFrom) {
  const LoadedConfig loaded =
      parse_config("seed: 1\nmodel { rope { theta: 5 } }\ndata { files: \"a\" files: [\"b\", \"c\"] }", "run.textproto",
                   {"model.num_heads=3", "mesh={data: 2}"});
  EXPECT_EQ(loaded.origins.of("seed"), "run.textproto:1:1");
  EXPECT_EQ(loaded.origins.of("model.rope.theta"), "run.textproto:2:16");
  EXPECT_EQ(loaded.origins.of("model.num_heads"), "--set model.num_heads=3");
  EXPECT_EQ(loaded.origins.of("mesh.data"), "--set mesh={data: 2}");
  EXPECT_EQ(loaded.origins.of("data.files[1]"), "run.textproto:3:19");
  EXPECT_EQ(loaded.origins.of("training.steps"), "");
}

TEST(ConfigText, PrintsDoublesThatReadBackToTheSameBits) {
  for (const double value :
       {0.1, 1.0 / 3.0, 1e-8, 2e-3, 6.02214076e23, 5e-324, 1.7976931348623157e308, std::nextafter(1.0, 2.0)}) {
    config::RunConfig config;
    config.mutable_optimizer()->set_learning_rate(value);
    EXPECT_EQ(parsed(print_config(config)).optimizer().learning_rate(), value);
  }
}

TEST(ConfigText, PrintsTextOfAnyBytesThatReadsBack) {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  config::RunConfig config;
  config.mutable_generation()->set_prompt(bytes);
  EXPECT_EQ(parsed(print_config(config)).generation().prompt(), bytes);
}

TEST(ConfigText, KeepsTheStepToResumeFrom) {
  EXPECT_EQ(parsed("checkpoint { resume: 100 }").checkpoint().resume(), 100);
  EXPECT_EQ(parsed("checkpoint { resume: NONE }").checkpoint().resume(), config::Checkpoint::NONE);
  EXPECT_EQ(print_config(parsed("checkpoint { resume: 100 }")), "checkpoint {\n  resume: 100\n}\n");
}

TEST(Set, ReplacesScalarsEnumsAndText) {
  EXPECT_EQ(parsed("training { steps: 5 }", {"training.steps=7"}).training().steps(), 7);
  EXPECT_EQ(parsed("", {"context.layout=STRIPED"}).context().layout(), config::Context::STRIPED);
  EXPECT_EQ(parsed("", {"model.tie_embeddings=true"}).model().tie_embeddings(), true);
  EXPECT_EQ(parsed("", {"checkpoint.resume=12"}).checkpoint().resume(), 12);
  EXPECT_EQ(parsed("", {"optimizer.learning_rate=1e-3"}).optimizer().learning_rate(), 1e-3);
  EXPECT_EQ(parsed("", {"name=two words=ok"}).name(), "two words=ok");
  EXPECT_EQ(parsed("", {"name=\"quoted\\n\""}).name(), "quoted\n");
  EXPECT_EQ(parsed("name: \"x\"", {"name="}).name(), "");
  EXPECT_EQ(parsed("", {"generation.prompt= #include <x>\n"}).generation().prompt(), " #include <x>\n");
  EXPECT_EQ(parsed("", {"training.steps=7", "training.steps=8"}).training().steps(), 8);
}

TEST(Set, ReplacesAndAppendsToRepeatedFields) {
  const std::string text = "data { files: \"a\" files: \"b\" }";
  EXPECT_EQ(parsed(text, {"data.files=c"}).data().files_size(), 1);
  EXPECT_EQ(parsed(text, {"data.files=c"}).data().files(0), "c");
  EXPECT_EQ(parsed(text, {"data.files+=c"}).data().files_size(), 3);
  EXPECT_EQ(parsed(text, {"data.files=[\"x\", \"y\", \"z\"]"}).data().files_size(), 3);
  EXPECT_EQ(parsed(text, {"data.files=[]"}).data().files_size(), 0);
  EXPECT_EQ(parsed(text, {"data.files="}).data().files_size(), 0);
  EXPECT_EQ(parsed("", {"data.files=[a-z]*.txt"}).data().files(0), "[a-z]*.txt");
  EXPECT_EQ(
      parsed("", {"generation.prompt_tokens=[1, 2]", "generation.prompt_tokens+=3"}).generation().prompt_tokens_size(),
      3);
  const auto blend = parsed("", {"data.blend={files: \"a\" weight: 2}", "data.blend+=files: \"b\""}).data();
  ASSERT_EQ(blend.blend_size(), 2);
  EXPECT_EQ(blend.blend(1).files(0), "b");
}

TEST(Set, ReplacesMessages) {
  const auto mesh = parsed("mesh { data: 4 context: 2 }", {"mesh={context: 8}"}).mesh();
  EXPECT_FALSE(mesh.has_data());
  EXPECT_EQ(mesh.context(), 8);
  EXPECT_FALSE(parsed("mesh { data: 4 }", {"mesh="}).has_mesh());
  EXPECT_EQ(parsed("", {"mesh=data: 2 context: 3"}).mesh().context(), 3);
}

TEST(Set, NamesWhatIsWrong) {
  EXPECT_EQ(refusal("", {"training.stps=3"}),
            "--set training.stps=3: training has no field \"stps\"; did you mean \"steps\"?");
  EXPECT_EQ(refusal("", {"context.layout=ZIG"}),
            "--set context.layout=ZIG: context.layout is \"ZIG\"; allowed are CONTIGUOUS, ZIGZAG, STRIPED, AREA");
  EXPECT_NE(refusal("", {"training.steps"}).find("expected path=value"), std::string::npos);
  EXPECT_NE(refusal("", {"=3"}).find("has no field \"\""), std::string::npos);
  EXPECT_NE(refusal("", {"training..steps=3"}).find("has no field \"\""), std::string::npos);
  EXPECT_NE(refusal("", {"seed.x=3"}).find("seed holds a value, not fields"), std::string::npos);
  EXPECT_NE(refusal("", {"training.steps+=3"}).find("+= appends to repeated fields only"), std::string::npos);
  EXPECT_NE(refusal("", {"data.blend.weight=3"}).find("blend is repeated"), std::string::npos);
  EXPECT_NE(refusal("", {"training.steps=abc"}).find("--set training.steps=abc: Expected integer"), std::string::npos);
  EXPECT_NE(refusal("", {"training.steps="}).find("--set training.steps=: "), std::string::npos);
  EXPECT_NE(refusal("", {"model={rope { teta: 1 }}"}).find("model.rope has no field \"teta\""), std::string::npos);
}

TEST(ConfigText, AFileOfSomethingElseIsAnsweredAtOnce) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "int{}\n";
  const std::string message = refusal(text, {});
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 20);
  EXPECT_NE(message.find("and 99980 more problems like these"), std::string::npos) << message;
}

TEST(ConfigText, AMistakenValueNamesItsField) {
  EXPECT_EQ(refusal("model {\n num_layers: \"4\" }", {}), "run.textproto:2:14: model.num_layers: Expected integer, got: \"4\"");
  EXPECT_NE(refusal("model { tie_embeddings: perhaps }", {}).find("field \"tie_embeddings\""), std::string::npos);
  EXPECT_EQ(refusal("model: 5", {}), "run.textproto:1:8: model: Expected \"{\", found \"5\".");
  EXPECT_NE(refusal("model { ", {}).find("the end of the text"), std::string::npos);
}

TEST(Set, DoesNotLetAValueSmuggleInAnotherField) {
  EXPECT_NE(refusal("", {"training.steps=3 micro_batch_sequences: 4"}).find("more than one value"), std::string::npos);
  EXPECT_NE(refusal("", {"name=\"a\" seed: 4"}).find("more than one value"), std::string::npos);
}

}  // namespace
}  // namespace longspan
