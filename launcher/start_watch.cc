#include "launcher/start_watch.h"

#include <fmt/format.h>

#include <cstdlib>
#include <iostream>

#include "launcher/exit_status.h"
#include "launcher/launch.h"

namespace longspan {

void StartWatch::watch(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, stop, limit_, [&] { return stop.stop_requested(); });
  if (stop.stop_requested()) return;
  if (is_first_process(std::getenv)) {
    std::cerr << fmt::format(
                     "longspan: MPI has not brought the ranks together within {:g} s. Can every host reach every other "
                     "(firewall, several networks: export OMPI_MCA_btl_tcp_if_include=... "
                     "OMPI_MCA_oob_tcp_if_include=...), and do they resolve each other's names?\n",
                     std::chrono::duration<double>(limit_).count())
              << std::flush;
  }
  std::_Exit(exit_code(ErrorKind::kCommunication));
}

}  // namespace longspan
