#include "core/base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "core/base/error.h"

namespace ingot {

namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string directory_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The final target of a symbolic link, so that replacing "latest.safetensors" keeps the link itself.
std::string follow_links(const std::string& path) {
  char* const resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;  // does not exist yet
  std::string out = resolved;
  std::free(resolved);
  return out;
}

bool same_file(int fd, const std::string& path) {
  struct stat a {
  }, b{};
  return ::fstat(fd, &a) == 0 && ::stat(path.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

}  // namespace

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a pipe would wait until someone writes to it. It changes nothing for regular files.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) throw FormatError(cat("cannot open '", path, "': ", reason(errno)));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) throw FormatError(cat("cannot read '", path, "': ", reason(errno)));
  if (!S_ISREG(info.st_mode))
    throw FormatError(cat("cannot read '", path, "': it is ",
                          S_ISDIR(info.st_mode) ? "a directory" : "no regular file", ", expected a file"));
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->size_ = static_cast<std::size_t>(info.st_size);
  if (file->size_ == 0) return file;  // mmap refuses empty ranges
  void* const data = ::mmap(nullptr, file->size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    file->size_ = 0;
    throw FormatError(cat("cannot map '", path, "' (", info.st_size, " bytes): ", reason(error)));
  }
  file->data_ = static_cast<std::byte*>(data);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(follow_links(path)) {
  struct stat info {};
  if (::stat(target_.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    if (S_ISDIR(info.st_mode)) fail("it is a directory", EISDIR);
    fd_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail("cannot open it", errno);
    return;
  }
  temporary_ = target_ + ".tmp";
  // The name is fixed, so a temporary file that a killed process left behind is reused and not piled up. The
  // lock (released by the kernel when its owner dies) keeps two living writers apart; if the other one
  // renamed the file between our open and our lock, we hold the finished target and must open again.
  for (;;) {
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) {
      const int error = errno;
      fail(cat("cannot create '", temporary_, "'"), error);
    }
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(fd_);
      throw Error(cat("cannot write '", path_, "': another process is writing it; choose another place"));
    }
    if (same_file(fd_, temporary_)) break;
    ::close(fd_);
  }
  if (::ftruncate(fd_, 0) != 0) fail("cannot empty the temporary file", errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  ::close(fd_);
}

void AtomicFile::fail(std::string_view what, int error) const {
  throw Error(cat("cannot write '", path_, "': ", what, ": ", reason(error),
                  temporary_.empty() ? "" : "; the file is as it was before"));
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  if (fd_ < 0) throw UsageError(cat("'", path_, "' was committed already"));
  const char* p = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, p, std::min<std::size_t>(bytes, std::size_t{1} << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail(cat("writing ", bytes, " bytes failed"), errno);
    }
    p += n;
    bytes -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  if (fd_ < 0) throw UsageError(cat("'", path_, "' was committed already"));
  if (temporary_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) fail("closing failed", errno);
    return;
  }
  if (::fsync(fd_) != 0) fail("flushing to the disk failed", errno);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("renaming the temporary file failed", errno);
  // From here on the target holds the new bytes; what remains makes the new name itself survive a power cut.
  ::close(std::exchange(fd_, -1));
  const std::string directory = directory_of(target_);
  const Descriptor dir(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot flush a directory (EINVAL); there is nothing more to do on those.
  if (dir.get() >= 0 && ::fsync(dir.get()) != 0 && errno != EINVAL)
    throw Error(cat("'", path_, "' is written, but flushing its directory failed: ", reason(errno)));
}

FolderLock::FolderLock(const std::string& path)
    : fd_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ < 0) throw Error(cat("cannot open the folder '", path, "': ", reason(errno)));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd_);
    throw Error(
        cat("another process is writing into the folder '", path, "'; wait for it, or choose another"));
  }
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

std::string read_file(const std::string& path) {
  return std::string(MappedFile::open(path)->text());
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace ingot
