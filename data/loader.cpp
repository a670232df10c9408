#include "data/loader.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/philox.h"
#include "data/detail/mix.h"
#include "data/detail/pixel_ops.h"
#include "data/draws.h"

namespace ingot {

namespace {

TensorType batched(const TensorType& sample, std::int64_t batch_size) {
  TensorType type = sample;
  type.shape.insert(0, batch_size);
  type.layout = sample.layout.is_row_major() ? Layout::row_major() : Layout::channels_last(type.shape.rank());
  return type;
}

// Signals of the program must not be delivered to threads that it does not know of.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

void shuffled_order(std::uint64_t seed, std::uint64_t epoch, std::vector<std::int64_t>& order,
                    std::int64_t size) {
  order.resize(static_cast<std::size_t>(size));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  Hasher key;
  key.add(seed);
  key.add(std::string_view("shuffle"));
  Philox4 r{};
  for (std::uint64_t i = order.size(), draw = 0; i > 1; --i, ++draw) {
    if (draw % 2 == 0) r = philox4x32(key.value(), draw / 2, epoch);
    const std::uint32_t* const half = r.v + 2 * (draw % 2);
    const std::uint64_t bits = (std::uint64_t{half[0]} << 32) | half[1];
    // The high word of bits * i lies in [0, i), uniform to 2^-64 * i.
    __extension__ using Wide = unsigned __int128;
    const auto j = static_cast<std::size_t>((static_cast<Wide>(bits) * i) >> 64);
    std::swap(order[i - 1], order[j]);
  }
}

// Batches are numbered through all epochs: sequence = epoch * per_epoch + number, and sequence s lives in
// slot s % slots. Workers claim sequences in order; one may be claimed when the slot's previous tenant was
// released.
struct DataLoader::Impl {
  // What a thread that fills batches needs.
  struct Scratch {
    std::vector<std::byte> sample;
    std::vector<float> row;  // for mixing
  };
  struct Slot {
    Batch batch;
    bool ready = false;
    std::exception_ptr error;
  };

  std::shared_ptr<const Dataset> dataset;
  LoaderOptions options;
  SampleTransform transform;
  std::int64_t size = 0, per_epoch = 0;
  TensorType input_type, target_type;
  std::vector<Slot> slots;

  // Used by the thread that calls next() alone.
  std::uint64_t epoch = 0;
  std::int64_t number = 0;
  double waited = 0.0;
  Scratch own_scratch;
  bool changes_pixels = false;

  // Guarded by `mutex`, as are the slots that no worker is filling and the caller does not hold.
  std::mutex mutex;
  mutable std::mutex bad_mutex;  // of `skipped` and `known_bad`
  std::condition_variable may_claim, finished;
  std::uint64_t claimed = 0, released = 0;
  int busy = 0;
  bool paused = false, stopping = false;
  std::vector<std::int64_t> order;
  std::uint64_t order_epoch = 0;
  bool order_known = false;
  std::vector<std::vector<std::int64_t>> by_class;  // samples, for balance_classes
  SkippedSamples skipped;
  std::vector<bool> known_bad;  // by sample; empty until one was found

  std::vector<std::thread> threads;

  static std::shared_ptr<const Dataset> not_null(std::shared_ptr<const Dataset> data) {
    if (data == nullptr) throw UsageError("DataLoader: the data set is null");
    return data;
  }

  Impl(std::shared_ptr<const Dataset> data, const LoaderOptions& o)
      : dataset(not_null(std::move(data))),
        options(o),
        transform(dataset->input_type(), o.augment, o.channels_last) {
    size = dataset->size();
    if (o.batch_size < 1) throw UsageError(cat("batch_size must be at least 1, got ", o.batch_size));
    if (o.workers < 0) throw UsageError(cat("workers must be at least 0, got ", o.workers));
    if (o.workers > kMostLoaderWorkers)
      throw UsageError(cat("workers expects at most ", kMostLoaderWorkers, ", got ", o.workers,
                           "; more workers than cores bring nothing"));
    if (o.prefetch < 1) throw UsageError(cat("prefetch must be at least 1, got ", o.prefetch));
    if (size < 1) throw UsageError("the data set holds no samples");
    per_epoch = o.drop_last ? size / o.batch_size : (size - 1) / o.batch_size + 1;
    if (per_epoch == 0)
      throw UsageError(
          cat("with drop_last, batches of ", o.batch_size, " leave nothing of ", size, " samples"));
    if (o.augment.random_resized_crop) {
      const RandomResizedCrop& c = *o.augment.random_resized_crop;
      if (!dataset->has_crops())
        throw UsageError(
            "random_resized_crop cuts parts out of image files, and this data set holds samples of one size; "
            "use "
            "crop_padding");
      if (!(c.least > 0.0 && c.least <= c.most && c.most <= 1.0 && c.narrowest > 0.0 &&
            c.narrowest <= c.widest))
        throw UsageError(
            cat("random_resized_crop: expected 0 < least <= most <= 1 and 0 < narrowest <= widest, got ",
                c.least, ", ", c.most, ", ", c.narrowest, ", ", c.widest));
    }
    detail::check_mixing(o.augment, transform.output_type(), dataset->target_type());
    check_pixel_changes();
    if (o.balance_classes) sort_by_class();
    input_type = batched(transform.output_type(), o.batch_size);
    target_type = batched(dataset->target_type(), o.batch_size);
    slots.resize(o.workers == 0 ? 1 : static_cast<std::size_t>(o.prefetch) + 1);
    for (Slot& slot : slots) {
      slot.batch.input = Tensor::zeros(input_type);
      slot.batch.target = Tensor::zeros(target_type);
      if (detail::mixes(o.augment)) slot.batch.other_target = Tensor::zeros(target_type);
      slot.batch.indices.reserve(static_cast<std::size_t>(o.batch_size));
    }
    order.reserve(static_cast<std::size_t>(size));
  }

  void check_pixel_changes() {
    const Augment& a = options.augment;
    changes_pixels = a.rand_augment || a.color_jitter;
    const TensorType type = dataset->input_type();
    if (changes_pixels && (type.dtype != DType::U8 || type.shape.rank() != 3))
      throw UsageError(
          cat("rand_augment and color_jitter change images [channels, height, width] of type u8, the samples "
              "are ",
              to_string(type)));
    if (a.rand_augment && (a.rand_augment->num_ops < 0 || a.rand_augment->num_ops > 14 ||
                           a.rand_augment->magnitude < 0 || a.rand_augment->magnitude > 30))
      throw UsageError(cat("rand_augment expects 0 to 14 operations at a magnitude of 0 to 30, got ",
                           a.rand_augment->num_ops, " at ", a.rand_augment->magnitude));
    if (!a.color_jitter) return;
    const ColorJitter& j = *a.color_jitter;
    if (!(j.brightness >= 0.0 && j.contrast >= 0.0 && j.saturation >= 0.0 && j.hue >= 0.0 && j.hue <= 0.5))
      throw UsageError(cat("color_jitter expects figures of at least 0, and a hue of at most 0.5, got ",
                           j.brightness, ", ", j.contrast, ", ", j.saturation, ", ", j.hue));
  }

  void sort_by_class() {
    if (!options.shuffle) throw UsageError("balance_classes draws samples at random; set shuffle too");
    by_class.resize(static_cast<std::size_t>(std::max<std::int64_t>(dataset->num_classes(), 0)));
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t label = dataset->label(i);
      if (label < 0 || label >= std::ssize(by_class))
        throw UsageError(
            "balance_classes needs a data set that knows the class of each sample, this one does not");
      by_class[static_cast<std::size_t>(label)].push_back(i);
    }
    std::erase_if(by_class, [](const auto& members) { return members.empty(); });
  }

  // By turns of all classes; each class goes through its samples in a new order whenever it has used them up.
  void balanced_order(std::uint64_t epoch_wanted) {
    Draws draws(options.seed, "balance", epoch_wanted, 0);
    const auto shuffle = [&](std::vector<std::int64_t>& v) {
      for (std::size_t i = v.size(); i > 1; --i)
        std::swap(v[i - 1], v[static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(i)))]);
    };
    // Sorted first, so that an epoch's order does not depend on the epochs before it.
    for (auto& members : by_class) std::sort(members.begin(), members.end());
    order.clear();
    const auto classes = static_cast<std::int64_t>(by_class.size());
    std::vector<std::int64_t> turn(by_class.size());
    std::iota(turn.begin(), turn.end(), std::int64_t{0});
    for (std::int64_t round = 0; std::ssize(order) < size; ++round) {
      shuffle(turn);
      for (std::int64_t k = 0; k < classes && std::ssize(order) < size; ++k) {
        auto& members = by_class[static_cast<std::size_t>(turn[static_cast<std::size_t>(k)])];
        const std::int64_t at = round % std::ssize(members);
        if (at == 0) shuffle(members);
        order.push_back(members[static_cast<std::size_t>(at)]);
      }
    }
    shuffle(order);
  }

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    may_claim.notify_all();
    for (std::thread& t : threads) t.join();
  }

  void start() {
    const BlockSignals block;  // inherited by the new threads
    // A worker that comes late must not allocate then.
    try {
      for (int i = 0; i < options.workers; ++i)
        threads.emplace_back([this, scratch = make_scratch()]() mutable { work(scratch); });
    } catch (const std::system_error& e) {  // those that run are joined by the destructor
      throw DeviceError(cat("cannot start ", options.workers, " loader workers, ", threads.size(),
                            " are running: ", e.what(), "; use fewer"));
    }
  }

  Slot& slot_of(std::uint64_t sequence) { return slots[sequence % slots.size()]; }
  std::uint64_t sequence() const {
    return epoch * static_cast<std::uint64_t>(per_epoch) + static_cast<std::uint64_t>(number);
  }

  // Says which samples go into the slot; called with the mutex held, since the order is shared.
  void assign(std::uint64_t sequence, Batch& batch) {
    const auto batches = static_cast<std::uint64_t>(per_epoch);
    batch.epoch = sequence / batches;
    batch.number = static_cast<std::int64_t>(sequence % batches);
    const std::int64_t first = batch.number * options.batch_size;
    batch.valid = std::min(options.batch_size, size - first);
    batch.indices.resize(static_cast<std::size_t>(batch.valid));
    if (!options.shuffle) {
      std::iota(batch.indices.begin(), batch.indices.end(), first);
      return;
    }
    if (!order_known || order_epoch != batch.epoch) {
      if (options.balance_classes)
        balanced_order(batch.epoch);
      else
        shuffled_order(options.seed, batch.epoch, order, size);
      order_epoch = batch.epoch;
      order_known = true;
    }
    std::copy_n(order.begin() + first, batch.valid, batch.indices.begin());
  }

  // Reads one sample, and notes one that is left out: a thread that fills a batch does not hold the mutex.
  bool read_sample(const Batch& batch, std::int64_t index, std::span<std::byte> sample,
                   std::span<std::byte> target) {
    try {
      if (options.augment.random_resized_crop) {
        Draws draws(options.seed, "crop", batch.epoch, index);
        dataset->read_cropped(index, *options.augment.random_resized_crop, draws, sample, target);
      } else {
        dataset->read(index, sample, target);
      }
      return true;
    } catch (const BadSample& bad) {
      if (options.bad_samples == BadSamples::Refuse) throw;
      const std::lock_guard lock(bad_mutex);
      if (known_bad.empty()) known_bad.resize(static_cast<std::size_t>(size));
      if (!known_bad[static_cast<std::size_t>(index)]) {
        known_bad[static_cast<std::size_t>(index)] = true;
        ++skipped.count;
        if (skipped.messages.size() < SkippedSamples::kMostMessages)
          skipped.messages.push_back(bad.message());
      }
      return false;
    }
  }

  void change(std::span<std::byte> sample, std::uint64_t in_epoch, std::int64_t index) const {
    const TensorType type = dataset->input_type();
    const bool last = !type.layout.is_row_major();
    const std::int64_t channels = type.shape[0], plane = type.shape[1] * type.shape[2];
    Draws draws(options.seed, "pixels", in_epoch, index);
    detail::change_pixels({reinterpret_cast<std::uint8_t*>(sample.data()), channels, type.shape[1],
                           type.shape[2], last ? channels : 1, last ? 1 : plane},
                          options.augment, draws);
  }

  void fill(Batch& batch, Scratch& scratch) {
    const std::size_t row = transform.output_type().bytes(), target_row = dataset->target_type().bytes();
    std::byte* input = batch.input.as_bytes().data();
    std::byte* target = batch.target.as_bytes().data();
    std::size_t kept = 0;
    for (const std::int64_t index : batch.indices) {
      const std::span<std::byte> target_span(target, target_row);
      const std::span<std::byte> sample =
          transform.identity() ? std::span(input, row) : std::span(scratch.sample);
      if (!read_sample(batch, index, sample, target_span)) continue;
      if (changes_pixels) change(sample, batch.epoch, index);
      if (!transform.identity())
        transform.apply(scratch.sample.data(), input, transform.choose(options.seed, batch.epoch, index));
      input += row;
      target += target_row;
      batch.indices[kept++] = index;
    }
    batch.indices.resize(kept);
    batch.valid = static_cast<std::int64_t>(kept);
    const auto padding = static_cast<std::size_t>(options.batch_size - batch.valid);
    if (padding != 0) {
      std::memset(input, 0, padding * row);
      std::memset(target, 0, padding * target_row);
    }
    if (detail::mixes(options.augment)) mix(batch, scratch);
  }

  void mix(Batch& batch, Scratch& scratch) const {
    Draws draws(options.seed, "mix", batch.epoch, batch.number);
    batch.share = detail::mix_rows(static_cast<float*>(batch.input.raw()), transform.output_type(),
                                   batch.valid, options.augment, draws, scratch.row);
    const std::int64_t* const labels = batch.target.data<std::int64_t>();
    std::int64_t* const others = batch.other_target.data<std::int64_t>();
    std::fill_n(others, options.batch_size, std::int64_t{0});
    for (std::int64_t i = 0; i < batch.valid; ++i) others[i] = labels[i == 0 ? batch.valid - 1 : i - 1];
  }

  Scratch make_scratch() const { return {std::vector<std::byte>(dataset->input_type().bytes()), {}}; }

  void work(Scratch& scratch) {
    std::unique_lock lock(mutex);
    for (;;) {
      may_claim.wait(lock, [&] { return stopping || (!paused && claimed - released < slots.size()); });
      if (stopping) return;
      const std::uint64_t sequence = claimed++;
      Slot& slot = slot_of(sequence);
      ++busy;
      assign(sequence, slot.batch);
      lock.unlock();
      std::exception_ptr error;
      try {
        fill(slot.batch, scratch);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      slot.error = std::move(error);
      slot.ready = true;
      --busy;
      finished.notify_all();
    }
  }

  const Batch* next() {
    using Clock = std::chrono::steady_clock;
    const auto begin = Clock::now();
    const std::uint64_t wanted = sequence();
    Slot& slot = slot_of(wanted);
    std::unique_lock lock(mutex);
    if (released != wanted) {  // the batch that the caller held until now
      slot_of(released).ready = false;
      ++released;
      may_claim.notify_one();
    }
    if (number == per_epoch) {
      ++epoch;
      number = 0;
      return nullptr;
    }
    if (threads.empty()) {
      assign(wanted, slot.batch);
      fill(slot.batch, own_scratch);
      claimed = wanted + 1;
    } else {
      finished.wait(lock, [&] { return slot.ready; });
      if (slot.error) {
        // The position stays, and the slot keeps its error for the next call.
        const std::exception_ptr error = slot.error;
        lock.unlock();
        std::rethrow_exception(error);
      }
    }
    ++number;
    waited += std::chrono::duration<double>(Clock::now() - begin).count();
    return &slot.batch;
  }

  void move_to(std::uint64_t seed, std::uint64_t new_epoch, std::int64_t new_number) {
    std::unique_lock lock(mutex);
    paused = true;
    finished.wait(lock, [&] { return busy == 0; });
    if (seed != options.seed) order_known = false;
    options.seed = seed;
    epoch = new_epoch;
    number = new_number;
    claimed = released = sequence();
    for (Slot& slot : slots) {
      slot.ready = false;
      slot.error = nullptr;
    }
    paused = false;
    may_claim.notify_all();
  }
};

DataLoader::DataLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options) {
  if (dataset == nullptr) throw UsageError("DataLoader needs a data set, got none");
  impl_ = std::make_unique<Impl>(std::move(dataset), options);
  impl_->own_scratch = impl_->make_scratch();
  impl_->start();
}

DataLoader::~DataLoader() = default;
DataLoader::DataLoader(DataLoader&&) noexcept = default;
DataLoader& DataLoader::operator=(DataLoader&&) noexcept = default;

const Batch* DataLoader::next() {
  return impl_->next();
}
std::int64_t DataLoader::batches_per_epoch() const {
  return impl_->per_epoch;
}
TensorType DataLoader::input_type() const {
  return impl_->input_type;
}
TensorType DataLoader::target_type() const {
  return impl_->target_type;
}
const Dataset& DataLoader::dataset() const {
  return *impl_->dataset;
}
const LoaderOptions& DataLoader::options() const {
  return impl_->options;
}
double DataLoader::wait_seconds() const {
  return impl_->waited;
}
SkippedSamples DataLoader::skipped() const {
  const std::lock_guard lock(impl_->bad_mutex);
  return impl_->skipped;
}
std::size_t DataLoader::buffer_bytes() const {
  const std::size_t targets = detail::mixes(impl_->options.augment) ? 2 : 1;
  return impl_->slots.size() * (impl_->input_type.bytes() + targets * impl_->target_type.bytes());
}

LoaderState DataLoader::state() const {
  return {impl_->options.seed, impl_->epoch, impl_->number, impl_->size, impl_->options.batch_size};
}

void DataLoader::restore(const LoaderState& state) {
  if (state.dataset_size != impl_->size || state.batch_size != impl_->options.batch_size)
    throw UsageError(cat("cannot go on at the saved position: it counts batches of ", state.batch_size,
                         " from ", state.dataset_size, " samples, this loader has batches of ",
                         impl_->options.batch_size, " from ", impl_->size,
                         "; resume with the same data and batch size"));
  if (state.next_batch < 0 || state.next_batch > impl_->per_epoch)
    throw UsageError(cat("cannot go on at batch ", state.next_batch, ": an epoch has ", impl_->per_epoch));
  impl_->move_to(state.seed, state.epoch, state.next_batch);
}

void DataLoader::start_epoch(std::uint64_t epoch) {
  impl_->move_to(impl_->options.seed, epoch, 0);
}

}  // namespace ingot
