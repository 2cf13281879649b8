// A PJRT plugin that computes on the CPU, says that it is CUDA, and fails as CUDA does: for tests of what a
// run does about it. It loads a CPU plugin, copies its function table and puts a few functions of its own in
// front.
//
//   CUDAFAULT_PLUGIN   path of the CPU plugin
//   CUDAFAULT          WHERE:N:NAME, the N-th call (from 1) at WHERE ends as NAME says; empty: nothing fails.
//                      WHERE is client, compile, transfer (host to device, with its allocation), execute (the
//                      call itself), done (the execution fails after it was queued, which most errors of
//                      kernels do: https://github.com/openxla/xla/blob/3e1a45f9a74078a9df9b40ea32a94b1da83821e3/
//                      xla/pjrt/gpu/gpu_client_stream_error_test.cc) or read (device to host).
//                      Several, with commas between: the first that has not struck yet, see CUDAFAULT_ONCE.
//   CUDAFAULT_AFTER    path of a file; calls are counted once it is there; empty: all
//   CUDAFAULT_PROGRAMS path of a file to which every program is added before it is compiled; empty: none
//   CUDAFAULT_MEMORY   path of a file to which the memory options of each client are added; empty: none
//   CUDAFAULT_ONCE     beginning of the path of a file that is made when a fault strikes, and ends with its place
//                      in the list, from 0: a later process has the next fault; empty: every process has the first
//
// Built with go-xla's pjrt_c_api.h; ../cudafault.go says how.

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compile.h"

// What becomes of the process beside or instead of an error.
enum how { RETURNS, STICKS, HANGS, ABORTS, EXITS, CRASHES };

struct fault {
  const char* name;
  enum how how;       // STICKS: every later call fails the same way, as with a broken CUDA context
  int code;           // of the error, or of the exit
  const char* log;    // written to stderr before
  const char* text;   // of the error
};

// X is XLA's source. Texts of CUDA driver errors are put together by cuda::ToStatus, "CUDA error: DETAIL: NAME:
// TEXT" with code INTERNAL, or RESOURCE_EXHAUSTED for CUDA_ERROR_OUT_OF_MEMORY and then without "CUDA error: ":
// X/stream_executor/cuda/cuda_status.cc; NAME and TEXT are cuGetErrorName's and cuGetErrorString's.
// X = https://github.com/openxla/xla/blob/main/xla, read in March 2026 unless another version is given.
static const struct fault faults[] = {
    // As reported with XLA: https://github.com/jax-ml/jax/issues/25002. Detail from X/stream_executor/cuda/
    // cuda_stream.cc, SynchronizeStream.
    {"illegal-address", STICKS, PJRT_Error_Code_INTERNAL, NULL,
     "CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was "
     "encountered"},
    // Detail from X/stream_executor/cuda/cuda_stream.cc, LaunchCudaKernel; error as in
    // https://github.com/tensorflow/models/issues/5328. Kernel and sizes are examples.
    {"launch-failed", STICKS, PJRT_Error_Code_INTERNAL, NULL,
     "CUDA error: Failed to launch CUDA kernel: loop_add_fusion_12; block dims: 128x1x1; grid dims: 448x1x1; "
     "shared memory size: 0: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure"},
    // Error as in https://github.com/nagadit/DeepFaceLab_Linux/issues/89 (there in an older XLA's words).
    {"ecc", STICKS, PJRT_Error_Code_INTERNAL, NULL,
     "CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error "
     "encountered"},
    // "GPU has fallen off the bus" (Xid 79) stands in the kernel's log only:
    // https://github.com/NVIDIA/NVSentinel/issues/155. A process gets CUDA_ERROR_UNKNOWN:
    // https://github.com/proteneer/timemachine/pull/1203; the next one finds no device, as in no-device below.
    {"off-the-bus", STICKS, PJRT_Error_Code_INTERNAL, NULL,
     "CUDA error: Could not synchronize CUDA stream: CUDA_ERROR_UNKNOWN: unknown error"},
    // X/stream_executor/integrations/tf_allocator_adapter.cc, MemoryAllocationError (older ones give bytes); the
    // dump as in https://github.com/jax-ml/jax/issues/13428; the log line is X/tsl/framework/bfc_allocator.cc.
    {"out-of-memory", RETURNS, PJRT_Error_Code_RESOURCE_EXHAUSTED,
     "W0000 00:00:1773000000.000000 4711 bfc_allocator.cc:503] Allocator (GPU_0_bfc) ran out of memory trying to "
     "allocate 4.44GiB (rounded to 4770354432)requested by op \n",
     "Out of memory while trying to allocate 4.44GiB.\nBufferAssignment OOM Debugging.\nBufferAssignment stats:\n"
     "             parameter allocation:  372.76MiB\n              constant allocation:    48.5KiB\n"
     "        maybe_live_out allocation:    9.64GiB\n     preallocated temp allocation:    4.44GiB\n"
     "                 total allocation:   14.44GiB\n              total fragmentation:  680.30MiB (4.60%)\n"
     "Peak buffers:\n\tBuffer 1:\n\t\tSize: 6.00MiB\n\t\tOperator: op_name=\"jit(concatenate)/jit(main)/"
     "concatenate[dimension=0]\" source_file=\"models.py\" source_line=689\n\t\tXLA Label: concatenate\n"
     "\t\tShape: f32[4096,128,3]\n\t\t==========================\n\n"},
    // cuda::ToStatus of CUDA_ERROR_OUT_OF_MEMORY: https://github.com/NovaSky-AI/SkyRL/issues/624.
    {"driver-out-of-memory", RETURNS, PJRT_Error_Code_RESOURCE_EXHAUSTED, NULL,
     ": CUDA_ERROR_OUT_OF_MEMORY: out of memory"},
    // X/stream_executor/integrations/tf_allocator_adapter.cc, of pinned host memory.
    {"host-out-of-memory", RETURNS, PJRT_Error_Code_RESOURCE_EXHAUSTED, NULL,
     "Out of host memory while trying to allocate 66.00GiB. Please set the environment variable "
     "XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB to allocate larger host memory than the default 64 GB."},
    // X/stream_executor/cuda/cuda_blas_utils.cc, ToStatus, of CUBLAS_STATUS_ALLOC_FAILED; its words as in
    // https://github.com/clearml/clearml-fractional-gpu/issues/4; the prefix is the call, X/.../cuda_blas_lt.cc.
    {"cublas-out-of-memory", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "cublasLtCreate(&blas_lt): the resource allocation failed"},
    // The same of CUBLAS_STATUS_INTERNAL_ERROR. NVIDIA's words for that status, not seen in a report.
    {"cublas-internal", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "cublasLtCreate(&blas_lt): an internal operation failed"},
    // https://github.com/Physical-Intelligence/openpi/issues/725
    {"cudnn-execution", RETURNS, PJRT_Error_Code_UNKNOWN, NULL,
     "CUDNN_STATUS_EXECUTION_FAILED\nin external/xla/xla/stream_executor/cuda/cuda_dnn.cc(6523): 'status': while "
     "running replica 0 and partition 0 of a replicated computation (other replicas may have failed as well)."},
    // https://github.com/jax-ml/jax/issues/22626, https://github.com/jax-ml/jax/issues/23162
    {"cudnn-internal", RETURNS, PJRT_Error_Code_FAILED_PRECONDITION,
     "E1126 13:04:33.173027 1713450 cuda_dnn.cc:535] Could not create cudnn handle: CUDNN_STATUS_INTERNAL_ERROR\n"
     "E1126 13:04:33.173300 1713450 cuda_dnn.cc:539] Memory usage: 11372396544 bytes free, 11539054592 bytes "
     "total.\n",
     "DNN library initialization failed. Look at the errors above for more details."},
    // X/backends/gpu/collectives/nccl_errors.h; https://github.com/jax-ml/jax/issues/22747
    {"nccl-system", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "NCCL operation ncclCommInitRank(&comm, nranks, id, rank) failed: unhandled system error (run with "
     "NCCL_DEBUG=INFO for details). Last NCCL warning(error) log entry (may be unrelated) 'socketTryAccept: Accept "
     "failed: Bad file descriptor'."},
    // https://github.com/openxla/xla/pull/7201
    {"nccl-out-of-memory", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "NCCL operation ncclCommInitRank(&comm, nranks, id, rank) failed: unhandled cuda error (run with "
     "NCCL_DEBUG=INFO for details). Last NCCL warning(error) log entry (may be unrelated) 'Cuda failure 2 'out of "
     "memory''."},
    // The same with NCCL's last entry as in https://github.com/pytorch/ci-infra/pull/490: a container's /dev/shm.
    {"nccl-shared-memory", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "NCCL operation ncclCommInitRank(&comm, nranks, id, rank) failed: unhandled system error (run with "
     "NCCL_DEBUG=INFO for details). Last NCCL warning(error) log entry (may be unrelated) 'Error while creating "
     "shared memory segment /dev/shm/nccl-WU88OE (size 9637888), error: No space left on device (28)'."},
    // X/service/rendezvous.cc, LOG(FATAL) where a device did not come to a collective; its name as in
    // https://github.com/jax-ml/jax/issues/22740.
    {"nccl-timeout", ABORTS, 0,
     "F0000 00:00:1773000000.000000 4711 rendezvous.cc:161] [id=3] Termination timeout for `initialize clique for "
     "rank 0; clique=devices=[0,1]; stream=0; run_id=724296073` of 40 seconds exceeded. Exiting to ensure a "
     "consistent program state. Expected 2 threads to join the rendezvous, but only 1 of them arrived on time.\n",
     NULL},
    // The same until 2024: https://github.com/openxla/xla/blob/16569562fc04a1d1eadcd6a79f2269c1ccf4c421/xla/service/
    // rendezvous.cc
    {"nccl-timeout-exit", EXITS, 42,
     "E0000 00:00:1773000000.000000 4711 rendezvous.cc:42] Termination timeout of 30 seconds exceeded. Exiting to "
     "ensure a consistent program state.\n",
     NULL},
    // cuInit's failure is logged and what comes back is that there is no device:
    // https://github.com/jax-ml/jax/issues/28376; the driver's own error as in
    // https://github.com/jax-ml/jax/issues/3568.
    {"no-device", RETURNS, PJRT_Error_Code_FAILED_PRECONDITION,
     "2025-04-29 09:53:32.455092: E external/xla/xla/stream_executor/cuda/cuda_platform.cc:51] failed call to "
     "cuInit: INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is "
     "detected\n",
     "No visible GPU devices."},
    {"driver-mismatch", RETURNS, PJRT_Error_Code_FAILED_PRECONDITION,
     "E0000 00:00:1773000000.000000 4711 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: Failed "
     "call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: system has unsupported display driver / cuda driver "
     "combination\n",
     "No visible GPU devices."},
    // cuda::ToStatus of the runtime's errors, without detail; https://github.com/NVIDIA/cutlass/issues/2866 is one.
    {"driver-too-old", RETURNS, PJRT_Error_Code_INTERNAL, NULL,
     "CUDA Runtime error: : cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime "
     "version"},
    // A kernel that never ends: no error at all, https://github.com/jax-ml/jax/issues/38503.
    {"hang", HANGS, 0, NULL, NULL},
    // A CHECK on the way of an error: the process aborts. File and condition are examples.
    {"check", ABORTS, 0,
     "F0000 00:00:1773000000.000000 4711 cuda_executor.cc:1] Check failed: status.ok() CUDA error: "
     "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered\n",
     NULL},
    // An allocator that says it does without, and then a crash of another cause: not memory.
    // https://github.com/flatironinstitute/nemos/issues/345
    {"crash-after-warning", CRASHES, 0,
     "2025-05-18 21:59:55.086788: W external/xla/xla/tsl/framework/bfc_allocator.cc:310] Allocator (GPU_0_bfc) ran "
     "out of memory trying to allocate 3.37GiB with freed_by_count=0. The caller indicates that this is not a "
     "failure, but this may mean that there could be performance gains if more memory were available.\n",
     NULL},
};

static const PJRT_Api* real;
static const char* where;  // of CUDAFAULT; NULL: nothing fails
static long nth;
static const struct fault* chosen;
static char marker[4096];  // file to make when it strikes; empty: none
static const struct fault* broken;  // what every call fails with from now on
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// Errors and events of ours are addresses in these arrays, so that they are told from the CPU plugin's.
enum { MANY = 64 };
static const struct fault* errors[MANY];
static const struct fault* events[MANY];

static void die(const char* what, const char* more) {
  fprintf(stderr, "cudafault: %s%s\n", what, more);
  _exit(3);
}

static bool our_error(const PJRT_Error* e) {
  return (const char*)e >= (const char*)errors && (const char*)e < (const char*)(errors + MANY);
}

static bool our_event(const PJRT_Event* e) {
  return (const char*)e >= (const char*)events && (const char*)e < (const char*)(events + MANY);
}

static void* keep(const struct fault** in, const struct fault* f) {
  for (int i = 0; i < MANY; i++) {
    if (in[i] == NULL) {
      in[i] = f;
      return &in[i];
    }
  }
  die("too many errors are not destroyed", "");
  return NULL;
}

static PJRT_Error* error_of(const struct fault* f) {
  if (f == NULL) return NULL;
  pthread_mutex_lock(&lock);
  PJRT_Error* e = keep(errors, f);
  pthread_mutex_unlock(&lock);
  return e;
}

static PJRT_Event* event_of(const struct fault* f) {
  pthread_mutex_lock(&lock);
  PJRT_Event* e = keep(events, f);
  pthread_mutex_unlock(&lock);
  return e;
}

// variable is one of the environment; NULL where it is empty.
static const char* variable(const char* name) {
  const char* value = getenv(name);
  return value != NULL && *value ? value : NULL;
}

// struck says how this call at a place ends: NULL, well. It may not return.
static const struct fault* struck(const char* place) {
  pthread_mutex_lock(&lock);
  const struct fault* f = broken;
  const char* after = variable("CUDAFAULT_AFTER");
  if (f == NULL && where != NULL && strcmp(where, place) == 0 && (after == NULL || access(after, F_OK) == 0) &&
      --nth == 0) {
    f = chosen;
    int fd = *marker ? open(marker, O_CREAT | O_WRONLY, 0644) : -1;
    if (*marker && fd < 0) die("cannot make ", marker);
    if (fd >= 0) close(fd);
    if (f->log != NULL) fputs(f->log, stderr);
    if (f->how == STICKS) broken = f;
  }
  pthread_mutex_unlock(&lock);
  if (f == NULL) return NULL;
  switch (f->how) {
    case HANGS:
      for (;;) pause();
    case ABORTS:
      abort();
    case EXITS:
      exit(f->code);
    case CRASHES:
      raise(SIGSEGV);
      break;
    case RETURNS:
    case STICKS:
      break;
  }
  return f;
}

static void Error_Destroy(PJRT_Error_Destroy_Args* args) {
  if (!our_error(args->error)) {
    real->PJRT_Error_Destroy(args);
    return;
  }
  pthread_mutex_lock(&lock);
  *(const struct fault**)args->error = NULL;
  pthread_mutex_unlock(&lock);
}

static void Error_Message(PJRT_Error_Message_Args* args) {
  if (!our_error(args->error)) {
    real->PJRT_Error_Message(args);
    return;
  }
  args->message = (*(const struct fault* const*)args->error)->text;
  args->message_size = strlen(args->message);
}

static PJRT_Error* Error_GetCode(PJRT_Error_GetCode_Args* args) {
  if (!our_error(args->error)) return real->PJRT_Error_GetCode(args);
  args->code = (PJRT_Error_Code)(*(const struct fault* const*)args->error)->code;
  return NULL;
}

static PJRT_Error* Event_Destroy(PJRT_Event_Destroy_Args* args) {
  if (!our_event(args->event)) return real->PJRT_Event_Destroy(args);
  pthread_mutex_lock(&lock);
  *(const struct fault**)args->event = NULL;
  pthread_mutex_unlock(&lock);
  return NULL;
}

static PJRT_Error* Event_IsReady(PJRT_Event_IsReady_Args* args) {
  if (!our_event(args->event)) return real->PJRT_Event_IsReady(args);
  args->is_ready = true;
  return NULL;
}

static PJRT_Error* Event_Error(PJRT_Event_Error_Args* args) {
  if (!our_event(args->event)) return real->PJRT_Event_Error(args);
  return error_of(*(const struct fault**)args->event);
}

static PJRT_Error* Event_Await(PJRT_Event_Await_Args* args) {
  if (!our_event(args->event)) return real->PJRT_Event_Await(args);
  return error_of(*(const struct fault**)args->event);
}

static PJRT_Error* Event_OnReady(PJRT_Event_OnReady_Args* args) {
  if (!our_event(args->event)) return real->PJRT_Event_OnReady(args);
  args->callback(error_of(*(const struct fault**)args->event), args->user_arg);
  return NULL;
}

// finish waits for one of the CPU plugin's events and destroys it.
static void finish(PJRT_Event* e) {
  PJRT_Event_Await_Args await = {.struct_size = PJRT_Event_Await_Args_STRUCT_SIZE, .event = e};
  PJRT_Error* err = real->PJRT_Event_Await(&await);
  if (err != NULL) {
    PJRT_Error_Destroy_Args destroy = {.struct_size = PJRT_Error_Destroy_Args_STRUCT_SIZE, .error = err};
    real->PJRT_Error_Destroy(&destroy);
  }
  PJRT_Event_Destroy_Args destroy = {.struct_size = PJRT_Event_Destroy_Args_STRUCT_SIZE, .event = e};
  real->PJRT_Event_Destroy(&destroy);
}

// tell_memory adds an option of CUDA's allocator to CUDAFAULT_MEMORY, as NAME VALUE and a line's end.
static void tell_memory(const PJRT_NamedValue* o) {
  const char* path = variable("CUDAFAULT_MEMORY");
  if (path == NULL || (o->type != PJRT_NamedValue_kFloat && o->type != PJRT_NamedValue_kBool)) return;
  FILE* f = fopen(path, "a");
  if (f == NULL) die("cannot write ", path);
  double value = o->type == PJRT_NamedValue_kFloat ? o->float_value : o->bool_value;
  fprintf(f, "%.*s %g\n", (int)o->name_size, o->name, value);
  fclose(f);
}

// Client_Create takes CUDA's options: as many devices of the CPU as visible_devices lists.
static PJRT_Error* Client_Create(PJRT_Client_Create_Args* args) {
  const struct fault* f = struck("client");
  if (f != NULL) return error_of(f);
  PJRT_NamedValue count = {
      .struct_size = PJRT_NamedValue_STRUCT_SIZE,
      .name = "cpu_device_count",
      .name_size = strlen("cpu_device_count"),
      .type = PJRT_NamedValue_kInt64,
      .int64_value = 1,
      .value_size = 1,
  };
  for (size_t i = 0; i < args->num_options; i++) {
    const PJRT_NamedValue* o = &args->create_options[i];
    tell_memory(o);
    if (o->name_size == strlen("visible_devices") && memcmp(o->name, "visible_devices", o->name_size) == 0) {
      count.int64_value = (int64_t)o->value_size;
    }
  }
  PJRT_Client_Create_Args plain = *args;
  plain.create_options = &count;
  plain.num_options = 1;
  PJRT_Error* err = real->PJRT_Client_Create(&plain);
  args->client = plain.client;
  return err;
}

static PJRT_Error* Client_PlatformName(PJRT_Client_PlatformName_Args* args) {
  args->platform_name = "cuda";
  args->platform_name_size = strlen(args->platform_name);
  return NULL;
}

// keep_program adds a program as it came to the file CUDAFAULT_PROGRAMS.
static void keep_program(const PJRT_Client_Compile_Args* args) {
  const char* path = variable("CUDAFAULT_PROGRAMS");
  if (path == NULL) return;
  FILE* f = fopen(path, "ae");
  if (f == NULL || fwrite(args->program->code, 1, args->program->code_size, f) != args->program->code_size ||
      fclose(f) != 0) {
    die("cannot write ", path);
  }
}

static PJRT_Error* Client_Compile(PJRT_Client_Compile_Args* args) {
  const struct fault* f = struck("compile");
  if (f != NULL) return error_of(f);
  keep_program(args);
  compile_for_cuda(args);
  return real->PJRT_Client_Compile(args);
}

static PJRT_Error* Client_BufferFromHostBuffer(PJRT_Client_BufferFromHostBuffer_Args* args) {
  const struct fault* f = struck("transfer");
  return f != NULL ? error_of(f) : real->PJRT_Client_BufferFromHostBuffer(args);
}

static PJRT_Error* LoadedExecutable_Execute(PJRT_LoadedExecutable_Execute_Args* args) {
  const struct fault* f = struck("execute");
  if (f != NULL) return error_of(f);
  PJRT_Error* err = real->PJRT_LoadedExecutable_Execute(args);
  if (err != NULL) return err;
  if ((f = struck("done")) == NULL) return NULL;
  if (args->device_complete_events == NULL) die("nobody waits for the execution that is to fail", "");
  for (size_t i = 0; i < args->num_devices; i++) {
    finish(args->device_complete_events[i]);
    args->device_complete_events[i] = event_of(f);
  }
  return NULL;
}

// Buffer_ToHostBuffer leaves garbage where a copy failed: it must not be used.
static PJRT_Error* Buffer_ToHostBuffer(PJRT_Buffer_ToHostBuffer_Args* args) {
  if (args->dst == NULL) return real->PJRT_Buffer_ToHostBuffer(args);  // asks for the size only
  const struct fault* f = struck("read");
  PJRT_Error* err = real->PJRT_Buffer_ToHostBuffer(args);
  if (err != NULL || f == NULL) return err;
  finish(args->event);
  memset(args->dst, 0x3b, args->dst_size);
  args->event = event_of(f);
  return NULL;
}

// choose reads the first fault of a list that has not struck yet.
static void choose(const char* list) {
  static char place[32];
  char name[64];
  const char* once = variable("CUDAFAULT_ONCE");
  for (int i = 0; list != NULL; i++, list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL) {
    if (once != NULL) snprintf(marker, sizeof marker, "%s%d", once, i);
    if (*marker && access(marker, F_OK) == 0) continue;
    if (sscanf(list, "%31[^:]:%ld:%63[^,]", place, &nth, name) != 3) die("CUDAFAULT is not WHERE:N:NAME: ", list);
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
      if (strcmp(faults[k].name, name) == 0) chosen = &faults[k];
    }
    const char* places[] = {"client", "compile", "transfer", "execute", "done", "read"};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
      if (strcmp(places[k], place) == 0) where = place;
    }
    if (chosen == NULL || where == NULL) die("CUDAFAULT names no fault, or no place: ", list);
    return;
  }
}

const PJRT_Api* GetPjrtApi(void) {
  static PJRT_Api* table;
  if (table != NULL) return table;
  const char* path = variable("CUDAFAULT_PLUGIN");
  if (path == NULL) die("CUDAFAULT_PLUGIN is not set", "");
  void* plugin = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  if (plugin == NULL) die("cannot load the CPU plugin: ", dlerror());
  const PJRT_Api* (*get)(void) = (const PJRT_Api* (*)(void))dlsym(plugin, "GetPjrtApi");
  if (get == NULL) die("no GetPjrtApi in ", path);
  real = get();
  choose(variable("CUDAFAULT"));
  table = malloc(real->struct_size);
  memcpy(table, real, real->struct_size);
  table->PJRT_Error_Destroy = Error_Destroy;
  table->PJRT_Error_Message = Error_Message;
  table->PJRT_Error_GetCode = Error_GetCode;
  table->PJRT_Event_Destroy = Event_Destroy;
  table->PJRT_Event_IsReady = Event_IsReady;
  table->PJRT_Event_Error = Event_Error;
  table->PJRT_Event_Await = Event_Await;
  table->PJRT_Event_OnReady = Event_OnReady;
  table->PJRT_Client_Create = Client_Create;
  table->PJRT_Client_PlatformName = Client_PlatformName;
  table->PJRT_Client_Compile = Client_Compile;
  table->PJRT_Client_BufferFromHostBuffer = Client_BufferFromHostBuffer;
  table->PJRT_LoadedExecutable_Execute = LoadedExecutable_Execute;
  table->PJRT_Buffer_ToHostBuffer = Buffer_ToHostBuffer;
  return table;
}
