// A directory of this run for targets whose readers want files; in memory where it can be, and gone at the end.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "property.hpp"

namespace rollbackd::fuzz {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code error;
    const bool there = std::filesystem::is_directory(memory, error) && ::access(memory.c_str(), W_OK) == 0;
    path_ = ((there ? memory : std::filesystem::temp_directory_path()) / "rollbackd-fuzz-XXXXXX").string();
    property(::mkdtemp(path_.data()) != nullptr, "a temporary directory can be made", path_);
  }
  ~TemporaryDirectory() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << bytes;
  out.close();
  property(out.good(), "a file can be written", path);
}

}  // namespace rollbackd::fuzz
