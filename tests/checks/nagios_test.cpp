// Plugin output, as the Monitoring Plugins print it and as broken ones do.
#include "checks/nagios.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rollbackd::checks {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(PluginOutput, TheFirstLineIsTheText) {
  EXPECT_EQ(parse_plugin_output("DISK OK - free: 3326 MB\n").text, "DISK OK - free: 3326 MB");
  EXPECT_EQ(parse_plugin_output("OK | a=1\nlong\n").text, "OK");
  EXPECT_EQ(parse_plugin_output("").text, "");
  EXPECT_THAT(parse_plugin_output("OK, no data").data, IsEmpty());
}

TEST(PluginOutput, AValueHasAUnitThresholdsAndBounds) {
  const PluginOutput out = parse_plugin_output("PING OK|rta=12.5ms;3000.0;5000;0;60000 pl=0%;80;100;;\n");

  EXPECT_THAT(out.data, ElementsAre(PerfData{"rta", "s", 0.0125, 3.0, 5.0, 0.0, 60.0}, PerfData{"pl", "%", 0, 80.0, 100.0, {}, {}}));
  EXPECT_EQ(out.dropped, 0U);
}

TEST(PluginOutput, DataMayGoOnAfterTheLongText) {
  const PluginOutput out =
      parse_plugin_output("DISK OK|/=2643MB\n/boot 68 MB\n/home 69357 MB = x | /boot=68MB;88;93;0;98\n/home=69357MB\n'a b'=1\n");

  ASSERT_EQ(out.data.size(), 4U);
  EXPECT_EQ(out.data[0].label, "/");
  EXPECT_EQ(out.data[1], (PerfData{"/boot", "B", 68e6, 88e6, 93e6, 0.0, 98e6}));
  EXPECT_EQ(out.data[2].label, "/home");
  EXPECT_EQ(out.data[3].label, "a b");
}

TEST(PluginOutput, UnitsBecomeTheirBase) {
  const PluginOutput out = parse_plugin_output("|a=1us b=2ns c=3KB d=4KiB e=5GiB f=6c g=7 h=8W i=9s j=1MiB k=2TB");

  std::vector<std::pair<std::string, double>> units;
  for (const PerfData& data : out.data) units.emplace_back(data.unit, data.value);
  EXPECT_THAT(units, ElementsAre(std::pair("s", 1e-6), std::pair("s", 2e-9), std::pair("B", 3e3), std::pair("B", 4096.0),
                                 std::pair("B", 5.0 * (1 << 30)), std::pair("c", 6.0), std::pair("", 7.0), std::pair("W", 8.0),
                                 std::pair("s", 9.0), std::pair("B", 1048576.0), std::pair("B", 2e12)));
}

TEST(PluginOutput, LabelsMayBeQuoted) {
  const PluginOutput out = parse_plugin_output("OK|'a = b'=1 'it''s'=2;3 c.d-e=3 'x'=4");

  std::vector<std::string> labels;
  for (const PerfData& data : out.data) labels.push_back(data.label);
  EXPECT_THAT(labels, ElementsAre("a = b", "it's", "c.d-e", "x"));
}

TEST(PluginOutput, OfARangeItsUpperEndCounts) {
  const PluginOutput out = parse_plugin_output("|a=1;10:20;~:30 b=1;10:;@5:6 c=1;-5;0");

  ASSERT_EQ(out.data.size(), 3U);
  EXPECT_EQ(out.data[0].warning, 20.0);
  EXPECT_EQ(out.data[0].critical, 30.0);
  EXPECT_EQ(out.data[1].warning, std::nullopt);
  EXPECT_EQ(out.data[1].critical, std::nullopt);
  EXPECT_EQ(out.data[2].warning, -5.0);
  EXPECT_EQ(out.data[2].critical, 0.0);
}

TEST(PluginOutput, WhatIsNoDataIsDroppedAndCounted) {
  const PluginOutput out =
      parse_plugin_output("OK|a=U b=nan c=inf d= =5 e f=1x2 g=1e999 h=0x10 i=1,5 ok=-1.5e2s;x;y;z;w ok=2 'open=3 more=4");

  EXPECT_THAT(out.data, ElementsAre(PerfData{"ok", "s", -150, {}, {}, {}, {}}));
  EXPECT_EQ(out.dropped, 12U);
}

TEST(PluginOutput, HostileTextIsMadePrintableAndShort) {
  const PluginOutput out = parse_plugin_output("OK|'\x01\xff" + std::string(500, 'a') + "'=1 b=1\x02");

  ASSERT_EQ(out.data.size(), 1U);
  EXPECT_LE(out.data[0].label.size(), 128U);
  EXPECT_EQ(out.data[0].label.substr(0, 9), "\\x01\\xffa");
}

TEST(PluginOutput, ThereIsABoundOnHowManyValuesCount) {
  std::string text = "|";
  for (int i = 0; i < 300; ++i) text += "v" + std::to_string(i) + "=1 ";

  const PluginOutput out = parse_plugin_output(text);

  EXPECT_EQ(out.data.size(), 256U);
  EXPECT_EQ(out.dropped, 44U);
}

TEST(PluginOutput, AnyPrefixIsRead) {
  const std::string text = "OK|'a''b'=1.5e3MB;@~:5;10:;0;9\nlong | c=2%;3;4\n'd";

  for (std::size_t n = 0; n <= text.size(); ++n) EXPECT_LE(parse_plugin_output(text.substr(0, n)).data.size(), 2U) << n;
}

}  // namespace
}  // namespace rollbackd::checks
