// The memory plan as a table and as a picture.
#pragma once

#include <string>

#include "core/runtime/program.h"

namespace ingot::tools {

// The regions' bytes, the peak and the values alive at it, by source line.
std::string plan_table(const Program& program, int top);
// Offset against step: one rectangle per block, the lower bound as a line, the peak step marked.
std::string plan_svg(const Program& program, const std::string& title);

}  // namespace ingot::tools
