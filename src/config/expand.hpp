// What a document leaves out, written into it before the tables read it: the short form of a service and the defaults that follow from
// other values. A node that only a default explains has no place (line 0).
#pragma once

#include <string>

#include "config/reader.hpp"

namespace rollbackd::config {

/// Writes the main file's default socket and file of tokens, beside the state.
void expand_main(Node& root);

/// Writes the long form into `service`: `unit`, `command`, `current`, `releases`, `url` → components and checks; the process check;
/// `verify`; names of tests; directories and files that follow from others. Values of the wrong type are left for the tables to complain
/// about.
/// @param state_directory  absolute
void expand_service(Node& service, const std::string& state_directory, const Source& source, Reader& reader);

}  // namespace rollbackd::config
