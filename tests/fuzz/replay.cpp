// Stands in for libFuzzer in ordinary builds: runs the target once on every file of the folders given, so a corpus is a test too.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

void replay(const std::string& file) {
  std::fprintf(stderr, "%s\n", file.c_str());  // The last one named is the one that failed.
  std::ifstream in(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());  // Of exactly this size, so that ASan sees a read past it.
  LLVMFuzzerTestOneInput(input.data(), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t replayed = 0;
  for (int i = 1; i < argc; ++i)
    for (const std::string& file : files_in(argv[i])) {
      replay(file);
      ++replayed;
    }
  return replayed > 0 ? 0 : 1;  // An empty corpus tests nothing.
}
