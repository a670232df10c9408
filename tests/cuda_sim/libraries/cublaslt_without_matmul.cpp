// A library of the name and all functions of cuBLASLt but one, for tests of what is said of it.
#define INGOT_TEST_FUNCTION(name)   \
  extern "C" int cublasLt##name() { \
    return 0;                       \
  }

INGOT_TEST_FUNCTION(GetVersion)
INGOT_TEST_FUNCTION(GetStatusName)
INGOT_TEST_FUNCTION(GetStatusString)
INGOT_TEST_FUNCTION(Create)
INGOT_TEST_FUNCTION(Destroy)
INGOT_TEST_FUNCTION(MatmulDescCreate)
INGOT_TEST_FUNCTION(MatmulDescDestroy)
INGOT_TEST_FUNCTION(MatmulDescSetAttribute)
INGOT_TEST_FUNCTION(MatrixLayoutCreate)
INGOT_TEST_FUNCTION(MatrixLayoutDestroy)
INGOT_TEST_FUNCTION(MatrixLayoutSetAttribute)
INGOT_TEST_FUNCTION(MatmulPreferenceCreate)
INGOT_TEST_FUNCTION(MatmulPreferenceDestroy)
INGOT_TEST_FUNCTION(MatmulPreferenceSetAttribute)
INGOT_TEST_FUNCTION(MatmulAlgoGetHeuristic)
