#include "accesses.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace cuda_host {
namespace {

constexpr int kWarp = 32, kBanks = 32, kWord = 4, kSector = 32;

struct Access {
  std::uintptr_t address;
  std::size_t bytes;
};

// What the lanes of a warp do at one place, the n-th time each.
struct Request {
  std::vector<Access> lanes;
  bool write, shared;
};

struct Count {
  std::uint64_t requests = 0, units = 0, ideal = 0;
};

bool counting = false;
std::string op, kernel;
std::map<std::tuple<const void*, int, int>, Request> requests;            // by place, warp, n
std::map<std::pair<const void*, int>, int> times;                         // by place, thread
std::map<std::tuple<std::string, std::string, const void*, std::string>, Count> counts;

Count& count_of(const void* place, const std::string& kind) { return counts[{op, kernel, place, kind}]; }

void count_global(const Request& request, Count& count) {
  std::set<std::uintptr_t> sectors, bytes;
  for (const Access& a : request.lanes) {
    for (std::uintptr_t s = a.address / kSector; s <= (a.address + a.bytes - 1) / kSector; ++s) sectors.insert(s);
    for (std::size_t i = 0; i < a.bytes; ++i) bytes.insert(a.address + i);
  }
  count.units += sectors.size();
  count.ideal += (bytes.size() + kSector - 1) / kSector;
}

// A wavefront serves 32 lanes of up to 4 bytes, 16 of 8, 8 of 16; lanes that want the same word share it.
void count_shared(const std::vector<Access>& lanes, Count& count) {
  const std::size_t bytes = lanes.front().bytes, step = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  for (std::size_t first = 0; first < lanes.size(); first += step) {
    std::array<std::set<std::uintptr_t>, kBanks> words;
    for (std::size_t l = first; l < std::min(first + step, lanes.size()); ++l)
      for (std::uintptr_t w = lanes[l].address / kWord; w <= (lanes[l].address + lanes[l].bytes - 1) / kWord; ++w)
        words[w % kBanks].insert(w);
    std::size_t most = 1;
    for (const auto& bank : words) most = std::max(most, bank.size());
    count.units += most;
    count.ideal += 1;
  }
}

std::string base_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

bool is_helper(const std::string& file) { return file == "types.h" || file == "host.h" || file == "device.cuh"; }

}  // namespace

void set_counting(bool on) { counting = on; }

void start_counting(const Launch& launch) {
  if (!counting) return;
  op = launch.op;
  kernel = kernel_name(launch.kernel);
  requests.clear();
  times.clear();
}

void count_access(int thread, const void* address, std::size_t bytes, bool write, bool shared, const void* place) {
  if (!counting) return;
  const int n = times[{place, thread}]++;
  Request& request = requests[{place, thread / kWarp, n}];
  request.lanes.push_back({reinterpret_cast<std::uintptr_t>(address), bytes});
  request.write = write;
  request.shared = shared;
}

void count_matrix(const void* const* rows, const void* place) {
  if (!counting) return;
  std::vector<Access> lanes;
  for (int row = 0; row < 8; ++row) lanes.push_back({reinterpret_cast<std::uintptr_t>(rows[row]), 16});
  Count& count = count_of(place, "ldmatrix");
  ++count.requests;
  count_shared(lanes, count);
}

void finish_requests() {
  for (const auto& entry : requests) {
    const Request& request = entry.second;
    const std::string kind = std::string(request.shared ? "shared " : "global ") + (request.write ? "store" : "load");
    Count& count = count_of(std::get<0>(entry.first), kind);
    ++count.requests;
    if (request.shared) {
      count_shared(request.lanes, count);
    } else {
      count_global(request, count);
    }
  }
  requests.clear();
  times.clear();
}

std::vector<AccessRecord> take_access_records() {
  std::map<std::tuple<std::string, std::string, std::string, std::string>, Count> by_line;
  for (const auto& entry : counts) {
    const auto& [op_, kernel_, place, kind] = entry.first;
    Count& count = by_line[{op_, kernel_, source_line(place), kind}];
    count.requests += entry.second.requests;
    count.units += entry.second.units;
    count.ideal += entry.second.ideal;
  }
  counts.clear();
  std::vector<AccessRecord> records;
  for (const auto& entry : by_line) {
    const auto& [op_, kernel_, line, kind] = entry.first;
    records.push_back({op_, kernel_, line, kind, entry.second.requests, entry.second.units, entry.second.ideal});
  }
  return records;
}

std::string source_line(const void* place) {
  static std::unordered_map<const void*, std::string> known;
  std::string& line = known[place];
  if (!line.empty()) return line;
  Dl_info info{};
  if (!dladdr(place, &info)) return line = "?";
  const auto offset = reinterpret_cast<std::uintptr_t>(place) - reinterpret_cast<std::uintptr_t>(info.dli_fbase) - 1;
  std::ostringstream command;
  command << "addr2line -i -e '" << info.dli_fname << "' 0x" << std::hex << offset << " 2>/dev/null";
  FILE* pipe = popen(command.str().c_str(), "r");
  if (!pipe) throw std::runtime_error("addr2line does not start");
  char text[4096];
  while (std::fgets(text, sizeof text, pipe)) {
    const std::string frame = base_name(std::string(text, std::strcspn(text, " \n")));
    line = frame;
    if (!is_helper(frame.substr(0, frame.find(':')))) break;
  }
  pclose(pipe);
  if (line.empty()) line = "? (addr2line is missing)";
  return line;
}

}  // namespace cuda_host
