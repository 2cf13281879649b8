// The other half of the plugin: it gives every program that is compiled for the CPU to CUDA's real compiler too,
// ahead of time, for a GPU that only a file describes. No GPU is needed, and none of what comes out is run.
//
//   CUDACOMPILE_PLUGIN   path of CUDA's plugin; empty: nothing is compiled for CUDA
//   CUDACOMPILE_TARGET   path of a GpuTargetConfigProto in text form
//   CUDACOMPILE_REPORT   path of a file that gets a JSON line of each program
//
// The client with a topology and no device: https://github.com/openxla/xla/blob/main/xla/pjrt/c/
// pjrt_c_api_gpu_test.cc; sizes are xla::CompiledMemoryStats, see pjrt_c_api.h.

#define _GNU_SOURCE  // memmem
#include <ctype.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compile.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const PJRT_Api* cuda;
static PJRT_TopologyDescription* topology;
static FILE* report;

static const char* variable(const char* name) {
  const char* value = getenv(name);
  return value != NULL && *value ? value : NULL;
}

static void die(const char* what, const char* more) {
  fprintf(stderr, "cudacompile: %s%s\n", what, more);
  _Exit(3);
}

// say writes an error of CUDA's plugin as a JSON string, and destroys it.
static void say(FILE* to, PJRT_Error* err) {
  PJRT_Error_Message_Args m = {.struct_size = PJRT_Error_Message_Args_STRUCT_SIZE, .error = err};
  cuda->PJRT_Error_Message(&m);
  fputc('"', to);
  for (size_t i = 0; i < m.message_size; i++) {
    unsigned char c = (unsigned char)m.message[i];
    if (c == '"' || c == '\\') fputc('\\', to);
    if (c < 0x20) {
      fprintf(to, "\\u%04x", c);
    } else {
      fputc(c, to);
    }
  }
  fputc('"', to);
  PJRT_Error_Destroy_Args d = {.struct_size = PJRT_Error_Destroy_Args_STRUCT_SIZE, .error = err};
  cuda->PJRT_Error_Destroy(&d);
}

static void must(const char* what, PJRT_Error* err) {
  if (err == NULL) return;
  fprintf(stderr, "cudacompile: %s: ", what);
  say(stderr, err);
  fputc('\n', stderr);
  _Exit(3);
}

static char* contents(const char* path, size_t* size) {
  FILE* f = fopen(path, "rb");
  if (f == NULL) die("cannot read ", path);
  fseek(f, 0, SEEK_END);
  *size = (size_t)ftell(f);
  rewind(f);
  char* text = malloc(*size + 1);
  if (text == NULL || fread(text, 1, *size, f) != *size) die("cannot read ", path);
  text[*size] = 0;
  fclose(f);
  return text;
}

// describe makes the topology of one GPU, of CUDACOMPILE_TARGET.
static void describe(void) {
  const char* target = variable("CUDACOMPILE_TARGET");
  const char* to = variable("CUDACOMPILE_REPORT");
  if (target == NULL || to == NULL) die("CUDACOMPILE_TARGET and CUDACOMPILE_REPORT are not both set", "");
  report = fopen(to, "ae");
  if (report == NULL) die("cannot write ", to);
  size_t size;
  char* text = contents(target, &size);
  PJRT_NamedValue options[] = {
      {.struct_size = PJRT_NamedValue_STRUCT_SIZE, .name = "target_config", .name_size = strlen("target_config"),
       .type = PJRT_NamedValue_kString, .string_value = text, .value_size = size},
      {.struct_size = PJRT_NamedValue_STRUCT_SIZE, .name = "topology", .name_size = strlen("topology"),
       .type = PJRT_NamedValue_kString, .string_value = "1x1x1", .value_size = strlen("1x1x1")},
  };
  PJRT_TopologyDescription_Create_Args create = {
      .struct_size = PJRT_TopologyDescription_Create_Args_STRUCT_SIZE,
      .topology_name = "", .create_options = options, .num_options = 2,
  };
  must("describe the GPU", cuda->PJRT_TopologyDescription_Create(&create));
  topology = create.topology;
  free(text);
}

static void load(const char* path) {
  void* plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (plugin == NULL) die("cannot load CUDA's plugin: ", dlerror());
  const PJRT_Api* (*get)(void) = (const PJRT_Api* (*)(void))dlsym(plugin, "GetPjrtApi");
  if (get == NULL) die("no GetPjrtApi in ", path);
  cuda = get();
  PJRT_Plugin_Initialize_Args init = {.struct_size = PJRT_Plugin_Initialize_Args_STRUCT_SIZE};
  must("initialize CUDA's plugin", cuda->PJRT_Plugin_Initialize(&init));
  describe();
}

// sizes writes what XLA knows of a compiled program.
static void sizes(PJRT_Executable* program) {
  PJRT_Executable_GetCompiledMemoryStats_Args m = {
      .struct_size = PJRT_Executable_GetCompiledMemoryStats_Args_STRUCT_SIZE, .executable = program};
  must("ask for memory", cuda->PJRT_Executable_GetCompiledMemoryStats(&m));
  fprintf(report, ",\"argument_bytes\":%ld,\"output_bytes\":%ld,\"alias_bytes\":%ld,\"temp_bytes\":%ld",
          (long)m.argument_size_in_bytes, (long)m.output_size_in_bytes, (long)m.alias_size_in_bytes,
          (long)m.temp_size_in_bytes);
}

// name writes that of a program in MLIR's text form.
static void name(const PJRT_Program* program) {
  static const char begin[] = "module @";
  const char* at = memmem(program->code, program->code_size, begin, strlen(begin));
  const char* end = program->code + program->code_size;
  int size = 0;
  if (at != NULL) {
    for (at += strlen(begin); at + size < end && (isalnum(at[size]) || at[size] == '_'); size++) {
    }
  }
  fprintf(report, "\"module\":\"%.*s\"", size, at == NULL ? "" : at);
}

void compile_for_cuda(const PJRT_Client_Compile_Args* args) {
  const char* path = variable("CUDACOMPILE_PLUGIN");
  if (path == NULL) return;
  pthread_mutex_lock(&lock);
  if (cuda == NULL) load(path);
  PJRT_Compile_Args c = {
      .struct_size = PJRT_Compile_Args_STRUCT_SIZE, .topology = topology, .program = args->program,
      .compile_options = args->compile_options, .compile_options_size = args->compile_options_size,
  };
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  PJRT_Error* err = cuda->PJRT_Compile(&c);
  clock_gettime(CLOCK_MONOTONIC, &to);
  fputc('{', report);
  name(args->program);
  fprintf(report, ",\"program_bytes\":%zu,\"seconds\":%.3f", args->program->code_size,
          (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec));
  if (err != NULL) {
    fprintf(report, ",\"error\":");
    say(report, err);
  } else {
    sizes(c.executable);
    PJRT_Executable_Destroy_Args d = {
        .struct_size = PJRT_Executable_Destroy_Args_STRUCT_SIZE, .executable = c.executable};
    must("destroy a program", cuda->PJRT_Executable_Destroy(&d));
  }
  fprintf(report, "}\n");
  fflush(report);
  pthread_mutex_unlock(&lock);
}
