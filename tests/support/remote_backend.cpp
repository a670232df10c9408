#include "tests/support/remote_backend.h"

#include <sys/mman.h>

#include <deque>
#include <functional>
#include <map>
#include <mutex>

#include "core/base/error.h"
#include "core/runtime/backend.h"
#include "core/runtime/numerics.h"

namespace ingot::test {

namespace {

constexpr std::size_t kPage = 4096;
std::size_t pages(std::size_t bytes) {
  return (std::max<std::size_t>(bytes, 1) + kPage - 1) / kPage * kPage;
}

// All device memory of the process; open while somebody works with it.
class Memory {
 public:
  static Memory& instance() {
    static Memory m;
    return m;
  }
  std::shared_ptr<void> allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* p = mmap(nullptr, pages(bytes), open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw DeviceError("no room");
    blocks_[p] = bytes;
    return {p, [this](void* q) { release(q); }};
  }
  void open() { change(+1); }
  void close() { change(-1); }
  std::size_t bytes() {
    const std::lock_guard lock(mutex_);
    std::size_t sum = 0;
    for (const auto& [p, n] : blocks_) sum += n;
    return sum;
  }

 private:
  void change(int by) {
    const std::lock_guard lock(mutex_);
    const bool was = open_ > 0;
    open_ += by;
    if (was == (open_ > 0)) return;
    for (const auto& [p, n] : blocks_)
      if (mprotect(p, pages(n), open_ > 0 ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
        throw DeviceError("mprotect failed");
  }
  void release(void* p) {
    const std::lock_guard lock(mutex_);
    munmap(p, pages(blocks_.at(p)));
    blocks_.erase(p);
  }

  std::mutex mutex_;
  std::map<void*, std::size_t> blocks_;
  int open_ = 0;
};

struct Open {
  Open() { Memory::instance().open(); }
  ~Open() { Memory::instance().close(); }
};

class RemoteQueue final : public Queue {
 public:
  explicit RemoteQueue(std::unique_ptr<Queue> cpu) : cpu_(std::move(cpu)) {}

  void issue(std::function<void()> work) {
    if (!behind_guard_) {
      pending_.push_back(std::move(work));
      return;
    }
    pending_.push_back([this, work = std::move(work)] {
      if (!tripped_) work();
    });
  }
  void* stream(Lane) override { return this; }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    issue([=, this] { cpu_->copy_in(device, host, bytes); });
    copies_ = pending_.size();
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    wait();
    const Open open;
    cpu_->copy_out(host, device, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    issue([=, this] { cpu_->copy(to, from, bytes); });
  }
  void fill(void* device, std::byte value, std::size_t bytes) override {
    issue([=, this] { cpu_->fill(device, value, bytes); });
  }
  void feed(void* device, const void* host, std::size_t bytes) override {
    issue([=, this] {
      if (!tripped_) cpu_->copy_in(device, host, bytes);
    });
    copies_ = pending_.size();
  }
  // Records the second run and repeats it from then on, as a CUDA graph does.
  void replay(std::span<const QueuePart> parts) override {
    const auto work = [&] {
      for (const QueuePart& part : parts) {
        part.work();
        if (part.guarded) issue([this] { look(); });
        behind_guard_ = behind_guard_ || part.guarded;
        if (part.rest) part.rest();
      }
      behind_guard_ = false;
    };
    if (++runs_ == 2) {
      const std::size_t before = pending_.size();
      work();
      recorded_.assign(pending_.begin() + static_cast<std::ptrdiff_t>(before), pending_.end());
    } else if (runs_ > 2) {
      pending_.insert(pending_.end(), recorded_.begin(), recorded_.end());
    } else {
      work();
    }
  }
  void guard(std::span<const GuardedTensor> tensors, void*) override {
    guarded_.assign(tensors.begin(), tensors.end());
  }
  bool guard_tripped() const override { return pending_.empty() && tripped_; }
  void reset_guard() override { tripped_ = false; }
  void wait_for_copies() override { run_some(copies_); }
  void wait() override { run_some(pending_.size()); }
  void finish() noexcept override { wait(); }

 private:
  void run_some(std::size_t count) {
    if (count == 0) return;
    const Open open;
    cpu_->begin();
    for (; count > 0; --count) {
      const auto work = std::move(pending_.front());
      pending_.pop_front();
      if (copies_ > 0) --copies_;
      work();
    }
  }

  void look() {
    for (const GuardedTensor& t : guarded_)
      tripped_ = tripped_ || !all_finite(Tensor({t.dtype, {t.count}}, const_cast<void*>(t.data), nullptr));
  }

  std::unique_ptr<Queue> cpu_;
  std::deque<std::function<void()>> pending_;
  std::vector<std::function<void()>> recorded_;
  std::size_t copies_ = 0;  // work up to and including the last copy_in
  int runs_ = 0;
  std::vector<GuardedTensor> guarded_;
  bool behind_guard_ = false;  // what is issued now is left out when the guard has tripped
  bool tripped_ = false;
};

class RemoteBound final : public BoundStep {
 public:
  RemoteBound(std::shared_ptr<BoundStep> step, RemoteQueue& queue) : step_(std::move(step)), queue_(queue) {}
  void run() override {
    queue_.issue([step = step_] { step->run(); });
  }

 private:
  std::shared_ptr<BoundStep> step_;
  RemoteQueue& queue_;
};

class RemoteStep final : public Step {
 public:
  explicit RemoteStep(std::unique_ptr<Step> step) : step_(std::move(step)) {
    kernel = step_->kernel;
    workspace_bytes = step_->workspace_bytes;
    in_place = step_->in_place;
    is_view = step_->is_view;
  }
  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    return std::make_unique<RemoteBound>(step_->bind(b), *static_cast<RemoteQueue*>(b.stream));
  }

 private:
  std::unique_ptr<Step> step_;
};

std::size_t host_bytes = 0;

class RemoteBackend final : public Backend {
 public:
  std::string_view name() const override { return "remote"; }
  Target target(int device) const override {
    Target t = cpu().target(device);
    t.backend = "remote";
    return t;
  }
  std::vector<std::pair<std::string, std::string>> facts() const override { return {}; }
  std::optional<std::string> refuses(const Graph& graph, const Node& node) const override {
    return cpu().refuses(graph, node);
  }
  Layouts layouts(const Graph& graph, const Node& node, const std::vector<bool>& state_free,
                  const Target& target) const override {
    return cpu().layouts(graph, node, state_free, target);
  }
  bool accelerates(const Graph& graph, const Node& node, const Target& target) const override {
    return cpu().accelerates(graph, node, target);
  }
  std::unique_ptr<Step> lower(const Graph& graph, const Node& node, const Target& target) const override {
    return std::make_unique<RemoteStep>(cpu().lower(graph, node, target));
  }
  std::shared_ptr<void> allocate(std::size_t bytes, int) const override {
    return Memory::instance().allocate(bytes);
  }
  bool host_memory() const override { return false; }
  std::shared_ptr<void> allocate_host(std::size_t bytes) const override {
    auto p = cpu().allocate(bytes);
    host_bytes += bytes;
    return {p.get(), [p, bytes](void*) { host_bytes -= bytes; }};
  }
  std::unique_ptr<Queue> make_queue(const Target& target, void* stream) const override {
    return std::make_unique<RemoteQueue>(cpu().make_queue(target, stream));
  }

 private:
  static const Backend& cpu() { return backend("cpu"); }
};

}  // namespace

void register_remote_backend() {
  static const bool once = [] {
    backend("cpu");  // registers the built-in ones first
    register_backend(std::make_unique<RemoteBackend>());
    return true;
  }();
  static_cast<void>(once);
}

Target remote_target(int threads) {
  Target t = Target::cpu(threads);
  t.backend = "remote";
  return t;
}

std::size_t remote_bytes() {
  return Memory::instance().bytes();
}
std::size_t remote_host_bytes() {
  return host_bytes;
}

}  // namespace ingot::test
