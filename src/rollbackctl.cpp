// The client: everything is in cli/rollbackctl.cpp.
#include "cli/rollbackctl.hpp"

int main(int argc, char** argv) { return rollbackd::cli::rollbackctl(argc, argv); }
