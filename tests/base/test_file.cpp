#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/base/file.h"
#include "gtest/gtest.h"
#include "tests/support/messages.h"
#include "tests/support/temp_dir.h"

namespace ingot {
namespace {

std::size_t entries(const TempDir& dir) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(dir.path()), {}));
}

// Files of this process end at `bytes`, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);  // so that write() fails with EFBIG
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(AtomicFile, ReplacesOnlyOnCommit) {
  const TempDir dir;
  const std::string path = dir / "a.txt";
  write_raw(path, "old");
  {
    AtomicFile file(path);
    file.write("half");
    EXPECT_EQ(read_raw(path), "old");
  }
  EXPECT_EQ(read_raw(path), "old");
  EXPECT_EQ(entries(dir), 1u) << "the temporary file is removed";
  AtomicFile file(path);
  file.write("new ");
  file.write("bytes");
  file.commit();
  EXPECT_EQ(read_raw(path), "new bytes");
  EXPECT_EQ(entries(dir), 1u);
  EXPECT_THROW(file.write("more"), UsageError);
}

TEST(FolderLock, HoldsAFolderForOneOwner) {
  const TempDir dir;
  {
    const FolderLock first(dir.path());
    EXPECT_THROW(FolderLock(dir.path()), Error);
  }
  const FolderLock again(dir.path());
  EXPECT_EQ(entries(dir), 0u) << "no file is left";
  EXPECT_THROW(FolderLock(dir / "nowhere"), Error);
}

TEST(AtomicFile, ReusesWhatAKilledWriterLeft) {
  const TempDir dir;
  write_raw(dir / "a.txt.tmp", std::string(1000, 'x'));
  write_file(dir / "a.txt", "short");
  EXPECT_EQ(read_raw(dir / "a.txt"), "short");
  EXPECT_EQ(entries(dir), 1u);
}

TEST(AtomicFile, FullDiskLeavesTheOldFile) {
  const TempDir dir;
  const std::string path = dir / "a.bin";
  write_raw(path, "old");
  {
    const FileSizeLimit limit(4096);
    const std::string message = message_of<Error>([&] { write_file(path, std::string(10000, 'x')); });
    EXPECT_TRUE(says(message, path));
    EXPECT_TRUE(says(message, "File too large"));
    EXPECT_TRUE(says(message, "as it was before"));
  }
  EXPECT_EQ(read_raw(path), "old");
  EXPECT_EQ(entries(dir), 1u);
}

TEST(AtomicFile, DeviceIsWrittenDirectlyAndItsErrorNamed) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  EXPECT_TRUE(says(message_of<Error>([] { write_file("/dev/full", "x"); }), "No space left on device"));
  write_file("/dev/null", "x");
  struct stat info {};
  ASSERT_EQ(::stat("/dev/null", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode)) << "a device must never be replaced by a file";
}

TEST(AtomicFile, PlacesThatCannotBeWritten) {
  const TempDir dir;
  EXPECT_TRUE(
      says(message_of<Error>([&] { write_file(dir / "none/a.txt", "x"); }), "No such file or directory"));
  write_raw(dir / "file", "x");
  EXPECT_TRUE(says(message_of<Error>([&] { write_file(dir / "file/a.txt", "x"); }), "Not a directory"));
  EXPECT_TRUE(says(message_of<Error>([&] { write_file(dir.path(), "x"); }), "Is a directory"));
  // Root may write anywhere but into /proc, whoever runs the test.
  EXPECT_TRUE(says(message_of<Error>([&] { write_file("/proc/ingot.txt", "x"); }), "cannot create"));
}

TEST(AtomicFile, TwoWritersDoNotMix) {
  const TempDir dir;
  AtomicFile first(dir / "a.txt");
  EXPECT_TRUE(says(message_of<Error>([&] { AtomicFile second(dir / "a.txt"); }), "another process"));
  first.write("first");
  first.commit();
  EXPECT_EQ(read_raw(dir / "a.txt"), "first");
}

TEST(AtomicFile, FollowsALink) {
  const TempDir dir;
  write_raw(dir / "real.txt", "old");
  std::filesystem::create_symlink("real.txt", dir / "link.txt");
  write_file(dir / "link.txt", "new");
  EXPECT_EQ(read_raw(dir / "real.txt"), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(dir / "link.txt"));
}

TEST(MappedFile, ReadsPrivately) {
  const TempDir dir;
  const std::string path = dir / "a.bin";
  write_raw(path, "abc");
  const auto file = MappedFile::open(path);
  ASSERT_EQ(file->text(), "abc");
  file->bytes()[0] = std::byte{'X'};
  EXPECT_EQ(file->text(), "Xbc");
  EXPECT_EQ(read_file(path), "abc");
  write_raw(dir / "empty", "");
  EXPECT_EQ(read_file(dir / "empty"), "");
  EXPECT_TRUE(says(message_of<FormatError>([&] { read_file(dir / "none"); }), "No such file"));
  EXPECT_TRUE(says(message_of<FormatError>([&] { read_file(dir.path()); }), "a directory"));
}

TEST(MappedFile, DoesNotWaitForTheWriterOfAPipe) {
  const TempDir dir;
  const std::string path = dir / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_TRUE(says(message_of<FormatError>([&] { MappedFile::open(path); }), path, "no regular file"));
}

}  // namespace
}  // namespace ingot
