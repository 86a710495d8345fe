// `rollbackctl explain`: chapters from the API's answer, and Markdown that hostile text cannot break.
#include "cli/explain.hpp"

#include <gmock/gmock.h>

#include "cli/drill.hpp"

namespace rollbackd::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Json json(const char* text) { return Json::parse(text).value(); }

const char* const kEvidence = R"json({"service": "shop", "environment": "prod",
  "operation": {"operation": "op-1", "kind": "rollback", "from": "v2", "to": "v1", "status": "succeeded", "trigger": "automatic",
    "cause": "health", "begun_unix": 1795176000.5, "switched_unix": 1795176000.6, "ended_unix": 1795176002.0, "duration_seconds": 1.5,
    "phases": {"switch": 0.1},
    "steps": [{"number": 1, "component": "app", "driver": "symlink", "action": "switch", "attempt": 1, "status": "done",
               "took_seconds": 0.004, "begun_unix": 1795176000.55, "error": null}]},
  "bundle": {"incident": "inc-1", "release": "v2", "release_since": "2026-11-20T12:00:00.000Z", "version": "1.0",
    "configuration": "sha256:cafe",
    "decision": {"decision": "rollback", "reason": "v2 fails", "evidence": ["Down firing"], "why_not": ["v0: bad"],
      "timing": {"seen": 1795176000.0, "decided": 1795176000.4},
      "guards": [{"guard": "budget", "yes": true, "asked": true, "evidence": "0 of 2"},
                 {"guard": "cooldown", "yes": false, "asked": true, "evidence": "too soon"}]},
    "alerts": [{"rule": "Down", "expr": "probe_success == 0", "state": "firing", "value": 0, "labels": {"service": "shop"}}],
    "samples": [{"series": "probe_success{}", "points": [[1795175990, 1], [1795176000, 0]]}],
    "checks": [{"check": "app-log", "answer": "failing", "times": 2, "last": "2026", "detail": "FATAL | <b>`x`</b> [a](http://e)"}],
    "tests": [{"test": "release_on_disk", "result": "passed", "detail": "", "took_seconds": 0}]},
  "told": [{"at": "2026", "severity": "page", "title": "T", "channels": [{"channel": "oncall", "state": "sent"}]}],
  "earlier": [], "missing": ["steps of another"]})json";

TEST(Explain, EveryPartOfTheEvidenceHasItsChapterInReadingOrder) {
  const auto chapters = chapters_of(json(kEvidence));

  std::vector<std::string> titles;
  for (const Chapter& chapter : chapters) titles.push_back(chapter.title);
  EXPECT_THAT(titles, testing::ElementsAre("rollback of shop/prod: v2 -> v1, succeeded", "Timeline", "Why: the rules",
                                           "Samples that the rules read", "Guards", "Releases, and why the others were not chosen",
                                           "What the checks said, matched log lines among it", "Steps", "Verification", "Who was told",
                                           "What is not known", "Made by"));
  const std::string text = as_text(chapters);
  EXPECT_THAT(text, HasSubstr("the failing sample was committed"));
  EXPECT_THAT(text, HasSubstr("probe_success == 0"));
  EXPECT_THAT(text, HasSubstr("oncall: sent"));
  EXPECT_THAT(text, HasSubstr("+400.0 ms"));
}

TEST(Explain, MarkdownCannotBeBrokenByWhatALogLineHolds) {
  const std::string text = as_markdown(chapters_of(json(kEvidence)));

  EXPECT_THAT(text, StartsWith("# rollback of shop/prod: v2 -&gt; v1, succeeded\n"));
  EXPECT_THAT(text, HasSubstr("FATAL \\| &lt;b&gt;\\`x\\`&lt;/b&gt; \\[a\\](http://e)"));
  EXPECT_THAT(text, Not(HasSubstr("<b>")));
  EXPECT_THAT(text, HasSubstr("```promql\nDown: probe_success == 0\n```"));
  EXPECT_THAT(text, HasSubstr("| NO | cooldown | too soon |"));
}

TEST(Explain, WithoutAnythingKeptItSaysSo) {
  const std::string text = as_text(chapters_of(json(R"({"service": "shop", "environment": "prod", "bundle": null, "operation": null,
    "told": [], "earlier": [], "missing": ["no evidence is kept of it"]})")));

  EXPECT_THAT(text, HasSubstr("no evidence"));
}

TEST(Explain, AnswersOfTheWrongShapeAreNoCrash) {
  for (const char* text : {"null", "[]", "{}", R"({"bundle": 3, "operation": [], "told": {}, "missing": "x"})",
                           R"({"bundle": {"samples": [1, {"points": [[], [1], "x", [1, null]]}], "alerts": [[]], "decision": "x"}})"}) {
    EXPECT_FALSE(as_text(chapters_of(json(text))).empty()) << text;
    EXPECT_FALSE(as_markdown(chapters_of(json(text))).empty()) << text;
    EXPECT_FALSE(render_drill(json(text)).empty()) << text;
  }
}

TEST(Drill, ItsLinksAreShownWithTheirTimes) {
  const std::string text = render_drill(json(R"({"service": "shop", "environment": "prod",
    "operation": {"status": "failed", "detail": "broke at page"},
    "bundle": {"drill": [{"link": "rule", "state": "passed", "after_seconds": 1.25, "detail": "Down fires"},
               {"link": "page", "state": "not reached"}]}})"));

  EXPECT_THAT(text, HasSubstr("failed: broke at page"));
  EXPECT_THAT(text, HasSubstr("rule  passed       1.250 s  Down fires"));
}

}  // namespace
}  // namespace rollbackd::cli
