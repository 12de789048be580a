/* What PostgreSQL's headers name of OpenSSL: its pointers alone, so that no library has to be installed. */
typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct x509_st X509;
