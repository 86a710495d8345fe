#include "engine/insight.hpp"

#include "engine/engine.hpp"
#include "engine/watched.hpp"

namespace rollbackd::engine {

Insight::Insight(Engine& engine) : engine_(engine), wake_(engine.executor_) {}
Insight::~Insight() = default;

}  // namespace rollbackd::engine
