#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <stdexcept>

namespace rollbackd {
namespace {

TEST(Error, SaysWhatWhyAndTheNextStepOnOneLine) {
  const Error error = Error(Errc::io, "cannot open x").because("no such file").try_next("make it");
  EXPECT_EQ(error.text(), "cannot open x: no such file (next: make it)");
  EXPECT_EQ(Error(Errc::io, "cannot open x").text(), "cannot open x");
}

TEST(Error, OfASystemCallCarriesItsText) {
  const Error error = Error::from_errno("cannot open x", ENOENT);
  EXPECT_NE(error.why.find("No such file"), std::string::npos);
}

TEST(Result, TheValueOfAnErrorIsABugAndThrows) {
  const Result<int> result = Error(Errc::io, "broken");
  EXPECT_THROW((void)result.value(), std::logic_error);
}

}  // namespace
}  // namespace rollbackd
