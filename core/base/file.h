// Files, with errors that name the path and the system's reason: mapped reading, and writing that never
// leaves a half-written file behind.
//
// Reading throws FormatError (the file is missing or unreadable); writing throws Error. AtomicFile writes to
// `PATH.tmp` beside the target; commit() flushes it to the disk, renames it over PATH and flushes the
// directory, so PATH holds either the old bytes or all of the new ones, whatever happens in between. Without
// commit() the destructor removes the temporary file. A target that exists and is no regular file (a
// terminal, a pipe, /dev/null) is written directly.
//
//   AtomicFile out("run/metrics.csv");
//   out.write("epoch,loss\n");
//   out.commit();
//   write_file("summary.json", text);                   // the same in one call
//   std::shared_ptr<const MappedFile> in = MappedFile::open("weights.bin");
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ingot {

// The whole file, mapped privately: writing to the bytes changes neither the file nor what others read.
// Another process that shortens the file in place while it is mapped makes reading fault (SIGBUS); files that
// are replaced by renaming, as AtomicFile does, are safe.
class MappedFile {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile() = default;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class AtomicFile {
 public:
  // Opens the temporary file. Throws Error when the directory does not exist or cannot be written, or when
  // another process is writing the same target.
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::string_view text) { write(text.data(), text.size()); }
  void write(const void* data, std::size_t bytes);
  // Throws Error and leaves the old file as it was when the bytes cannot reach the disk. Call it once.
  void commit();

 private:
  [[noreturn]] void fail(std::string_view what, int error) const;

  std::string path_;       // as the user gave it, for messages
  std::string target_;     // with symbolic links followed
  std::string temporary_;  // empty when the target is written directly
  int fd_ = -1;
};

// Keeps a folder for one process (and one object in it) as long as it lives: two runs that write the same
// files in turn would each be whole and together be neither. The kernel releases it when the process dies; no
// file is left. Throws Error when another one holds it; a file system without locks gives none.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

// Replaces the file's content in one step.
void write_file(const std::string& path, std::string_view content);
std::string read_file(const std::string& path);
bool file_exists(const std::string& path);

}  // namespace ingot
