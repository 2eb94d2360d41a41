#include "mutex.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct mutex outer, inner;

static void lock_in_order(void)
{
	mutex_lock(&outer);
	mutex_lock(&inner);
	mutex_unlock(&outer);
	mutex_unlock(&inner);
}

MUTEX_ATTR(no_thread_safety_analysis) static void lock_backwards(void)
{
	mutex_lock(&inner);
	mutex_lock(&outer);
}

MUTEX_ATTR(no_thread_safety_analysis) static void lock_twice(void)
{
	mutex_lock(&inner);
	mutex_lock(&inner);
}

MUTEX_ATTR(no_thread_safety_analysis) static void unlock_without(void)
{
	mutex_unlock(&inner);
}

/* The signal that ended the function in a child, 0 for none. */
static int signal_of(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		const struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		(void)signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_breaches_abort(void **state)
{
	mutex_init(&outer, MUTEX_RANK_DBPOOL);
	mutex_init(&inner, MUTEX_RANK_LOG);
	assert_int_equal(signal_of(lock_in_order), 0);
	assert_int_equal(signal_of(lock_backwards), SIGABRT);
	assert_int_equal(signal_of(lock_twice), SIGABRT);
	assert_int_equal(signal_of(unlock_without), SIGABRT);
}

static void test_wait_has_a_deadline(void **state)
{
	pthread_cond_t cond;

	mutex_cond_init(&cond);
	mutex_lock(&outer);
	assert_false(mutex_wait_ms(&outer, &cond, 5));
	assert_true(mutex_is_held(&outer));
	mutex_unlock(&outer);
	assert_false(mutex_is_held(&outer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_breaches_abort),
		cmocka_unit_test(test_wait_has_a_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
