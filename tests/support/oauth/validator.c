/*
 * An OAuth validator for the tests: it accepts the token of its option `token` (PostgreSQL 19), or "right" without one,
 * and says that whoever bears it is the person of its option `person`, or "person@example.com".
 * tests/postgres/test_oauth.py builds it with the headers of the server that loads it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "libpq/oauth.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM >= 190000
static const char *options[] = {"token", "person"};

static void
startup(ValidatorModuleState *state)
{
	RegisterOAuthHBAOptions(state, lengthof(options), options);
}
#else
#define startup NULL
#define GetOAuthHBAOption(state, name) NULL
#endif

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result)
{
	const char *right = GetOAuthHBAOption(state, "token");
	const char *person = GetOAuthHBAOption(state, "person");

	result->authorized = strcmp(token, right ? right : "right") == 0;
	result->authn_id = pstrdup(person ? person : "person@example.com");
	return true;
}

static const OAuthValidatorCallbacks callbacks = {PG_OAUTH_VALIDATOR_MAGIC, startup, NULL, validate};

const OAuthValidatorCallbacks *
_PG_oauth_validator_module_init(void)
{
	return &callbacks;
}
