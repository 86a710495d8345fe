// label_replace and label_join: they write labels and leave values alone.
#pragma once

#include <vector>

#include "promql/evaluator.hpp"

namespace rollbackd::promql {

/// label_replace(v, dst, replacement, src, regex)
Operand label_replace(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args);
/// label_join(v, dst, separator, src...)
Operand label_join(Evaluator& evaluator, const Expr& call, std::vector<Operand>& args);
/// Any label name that is valid UTF-8 and not empty.
bool is_label_name(std::string_view name);

}  // namespace rollbackd::promql
