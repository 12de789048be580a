//! Connect by tokio-postgres, once for each line on standard input: {"driver", "settings", "directory", "names",
//! "certificate", "environment", "renewed"}; answer in JSON. With "renewed", a directory, connect, copy its certificate
//! and key over those that are in use, connect again with the same connector, and print the serial numbers that the
//! server saw.
use serde_json::Value;
use std::{error::Error, fs, io::BufRead, path::Path};
use tokio_postgres::Client;

const SERIAL: &str = "select client_serial::text from pg_stat_ssl where pid = pg_backend_pid()";

#[derive(Clone)]
enum Connector {
    Native(postgres_native_tls::MakeTlsConnector),
    Rustls(tokio_postgres_rustls::MakeRustlsConnect),
}

fn native(files: &Path, names: bool, certificate: bool) -> Result<Connector, Box<dyn Error>> {
    use native_tls::{Certificate, Identity, TlsConnector};
    use postgres_native_tls::MakeTlsConnector;
    let mut tls = TlsConnector::builder();
    tls.disable_built_in_roots(true);
    for root in Certificate::stack_from_pem(&fs::read(files.join("root.crt"))?)? {
        tls.add_root_certificate(root);
    }
    if certificate {
        tls.identity(Identity::from_pkcs8(
            &fs::read(files.join("postgresql.crt"))?,
            &fs::read(files.join("postgresql.key"))?,
        )?);
    }
    if !names {
        tls.danger_accept_invalid_hostnames(true);
    }
    Ok(Connector::Native(MakeTlsConnector::new(tls.build()?)))
}

fn rustls(files: &Path, certificate: bool) -> Result<Connector, Box<dyn Error>> {
    use rustls::pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer};
    use tokio_postgres_rustls::MakeRustlsConnect;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(files.join("root.crt"))? {
        roots.add(root?)?;
    }
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots);
    let tls = if certificate {
        let chain = CertificateDer::pem_file_iter(files.join("postgresql.crt"))?.collect::<Result<_, _>>()?;
        tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(files.join("postgresql.key"))?)?
    } else {
        tls.with_no_client_auth()
    };
    Ok(Connector::Rustls(MakeRustlsConnect::new(tls)))
}

async fn connect(settings: &str, password: Option<&str>, tls: Connector) -> Result<Client, Box<dyn Error>> {
    let mut settings: tokio_postgres::Config = settings.parse()?;
    if let Some(password) = password {
        settings.password(password);
    }
    match tls {
        Connector::Native(tls) => {
            let (client, connection) = settings.connect(tls).await?;
            tokio::spawn(connection);
            Ok(client)
        }
        Connector::Rustls(tls) => {
            let (client, connection) = settings.connect(tls).await?;
            tokio::spawn(connection);
            Ok(client)
        }
    }
}

async fn answer(case: &Value) -> Result<String, Box<dyn Error>> {
    let files = Path::new(case["directory"].as_str().ok_or("no directory")?);
    let (names, certificate) = (case["names"] == true, case["certificate"] == true);
    let tls = match case["driver"].as_str() {
        Some("tokio-postgres-rustls") => rustls(files, certificate)?,
        _ => native(files, names, certificate)?,
    };
    let settings = case["settings"].as_str().ok_or("no settings")?;
    let password = case["environment"]["PGPASSWORD"].as_str();
    let first = connect(settings, password, tls.clone()).await?;
    let Some(renewed) = case["renewed"].as_str() else {
        return Ok(first.query_one("select current_user::text", &[]).await?.get(0));
    };
    let before: String = first.query_one(SERIAL, &[]).await?.get(0);
    for name in ["postgresql.crt", "postgresql.key"] {
        fs::copy(Path::new(renewed).join(name), files.join(name))?;
    }
    let second = connect(settings, password, tls).await?;
    let after: String = second.query_one(SERIAL, &[]).await?.get(0);
    Ok(format!("{before}\n{after}"))
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        let said = match runtime.block_on(answer(&serde_json::from_str(&line?)?)) {
            Ok(printed) => serde_json::json!({ "printed": printed }),
            Err(error) => serde_json::json!({ "failed": describe(&*error) }),
        };
        println!("{said}");
    }
    Ok(())
}

fn describe(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}
