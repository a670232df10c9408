// The ingot program: train, evaluate, predict, plan, print, time and explain models from the command line.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <system_error>

#include "core/base/error.h"
#include "tools/commands.h"

int main(int argc, char** argv) {
  using namespace ingot;
  CLI::App app{"Ingot compiles a whole training step into one memory-planned program and runs it.", "ingot"};
  app.set_version_flag("--version", std::string("ingot ") + INGOT_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
  app.footer("`ingot VERB --help` shows the options of a verb and an example.");

  // Like every other error: the program's name, what is wrong, where to look.
  app.failure_message([](const CLI::App* a, const CLI::Error& e) {
    const auto verbs_given = a->get_subcommands();
    std::string what = e.what(), verb;
    if (!verbs_given.empty())
      verb = verbs_given.front()->get_name() + " ";
    else if (!a->remaining().empty())
      what = cat("there is no verb or option '", a->remaining().front(), "'");
    return cat("ingot: ", what, "; `ingot ", verb, "--help` shows what there is\n");
  });

  struct Verb {
    const char* name;
    const char* doc;
    tools::Action (*add)(CLI::App&);
  };
  const Verb verbs[] = {
      {"train", "Train a model on a data set", tools::add_train},
      {"eval", "Loss, accuracy and confusion matrix of a checkpoint", tools::add_eval},
      {"predict", "The most likely classes of images or texts", tools::add_predict},
      {"explain", "Which pixels of an image speak for a class, as a heat map", tools::add_explain},
      {"plan", "Bytes and work of a model before it runs", tools::add_plan},
      {"graph", "Print a model's graph, as written or as compiled", tools::add_graph},
      {"bench", "Time a model's step on synthetic data", tools::add_bench},
      {"info", "This build, the machine, the models and the ops", tools::add_info},
      {"cache", "What is kept on the disk: compiled kernels and measured choices", tools::add_cache},
      {"machine", "How fast machines are: what predictions are made from", tools::add_machine}};
  tools::Action action;
  for (const Verb& v : verbs) {
    CLI::App* sub = app.add_subcommand(v.name, v.doc);
    tools::Action run = v.add(*sub);
    sub->callback([&action, run] { action = run; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  // Beyond a limit on file sizes write() then fails with a reason, like on a full disk, and nothing is
  // killed.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const int code = action();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    std::fprintf(stderr, "ingot: cannot write the results to the standard output: %s\n",
                 std::generic_category().message(errno).c_str());
  } catch (const std::bad_alloc&) {
    std::fprintf(
        stderr,
        "ingot: out of memory; `ingot plan` says what a model needs, by --batch-size, --image-size and "
        "--classes\n");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ingot: %s\n", e.what());
  }
  return 1;
}
