// The trainer against callers: what is null is refused by name.
#include "core/base/error.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "gtest/gtest.h"
#include "models/models.h"
#include "train/callbacks.h"
#include "train/trainer.h"

namespace ingot {
namespace {

TEST(Trainer, RefusesWhatIsNull) {
  EXPECT_THROW(Trainer(nullptr), UsageError);
  Trainer t(make_model("mlp"));
  EXPECT_THROW(t.fit(nullptr, {}), UsageError);
  EXPECT_THROW(t.evaluate(nullptr), UsageError);
  EXPECT_THROW(DataLoader(nullptr, {}), UsageError);
  const Tensor images = Tensor::zeros({DType::U8, {4, 1, 28, 28}}), labels = Tensor::zeros({DType::U8, {4}});
  FitOptions fit;
  fit.callbacks = {nullptr};
  EXPECT_THROW(t.fit(std::make_shared<InMemoryDataset>(images, labels, 10), fit), UsageError);
}

}  // namespace
}  // namespace ingot
