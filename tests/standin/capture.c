/* SPDX-License-Identifier: MIT
 *
 * capture.c -- capturing a stream into a graph: one at a time, of which nothing is kept, and what it prohibits others.
 * That to wait for all of a captured stream's context spoils the capture whatever the thread's mode is what cuda.h says
 * of the like call cuCtxRecordEvent().
 */
#include <pthread.h>

#include "standin.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int capture_mode; /* of the thread */
static _Thread_local bool captures;    /* the thread that began it */
static struct {
        CUcontext context; /* NULL: nobody captures */
        int mode;
        bool spoilt;
} capture;

/* For programs that do: kvpager captures nothing itself. */
PUBLIC CUresult cuStreamBeginCapture_v2(CUstream stream, int mode);
PUBLIC CUresult cuStreamEndCapture(CUstream stream, void **ret_graph);

CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
        CUresult r = CUDA_ERROR_INVALID_VALUE;

        (void)pthread_mutex_lock(&lock);
        if (stream && standin_current_context() && !capture.context && mode >= 0 &&
            mode <= CU_STREAM_CAPTURE_MODE_RELAXED) {
                capture.context = standin_current_context();
                capture.mode = mode;
                capture.spoilt = false;
                captures = true;
                r = CUDA_SUCCESS;
        }
        (void)pthread_mutex_unlock(&lock);
        return r;
}

CUresult cuStreamEndCapture(CUstream stream, void **ret_graph)
{
        CUresult r;

        (void)stream;
        (void)pthread_mutex_lock(&lock);
        r = !capture.context                                              ? CUDA_ERROR_INVALID_VALUE
            : !captures && capture.mode != CU_STREAM_CAPTURE_MODE_RELAXED ? CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD
            : capture.spoilt                                              ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
                                                                          : CUDA_SUCCESS;
        if (r != CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD) {
                capture.context = NULL;
                captures = false;
        }
        (void)pthread_mutex_unlock(&lock);
        *ret_graph = NULL;
        return r;
}

CUresult cuThreadExchangeStreamCaptureMode(int *mode)
{
        const int before = capture_mode;

        ENTER(exchange_capture_mode);
        if (*mode < 0 || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
                return CUDA_ERROR_INVALID_VALUE;
        capture_mode = *mode;
        *mode = before;
        return CUDA_SUCCESS;
}

CUresult standin_unsafe(void)
{
        bool prohibited;

        (void)pthread_mutex_lock(&lock);
        prohibited = capture.context && capture_mode != CU_STREAM_CAPTURE_MODE_RELAXED &&
                     ((captures && capture.mode != CU_STREAM_CAPTURE_MODE_RELAXED) ||
                      (capture_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture.mode == CU_STREAM_CAPTURE_MODE_GLOBAL));
        capture.spoilt |= prohibited;
        (void)pthread_mutex_unlock(&lock);
        return prohibited ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

/* Of the captured stream's context it conflicts with the capture whatever the thread's mode. */
CUresult cuCtxSynchronize(void)
{
        bool conflicts;

        ENTER_UNSAFE(ctx_synchronize);
        if (!standin_current_context())
                return CUDA_ERROR_INVALID_CONTEXT;
        (void)pthread_mutex_lock(&lock);
        conflicts = capture.context == standin_current_context();
        capture.spoilt |= conflicts;
        (void)pthread_mutex_unlock(&lock);
        return conflicts ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : standin_finish();
}
