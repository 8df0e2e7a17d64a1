// The client's certificate as RFC 9440 has it, for nginx.conf: the PEM that nginx has of it, without its frame.
function certificate(r) {
    if (r.variables.ssl_client_verify !== 'SUCCESS') {
        return '';
    }
    return ':' + r.variables.ssl_client_raw_cert.replace(/-----[A-Z ]+-----|\s/g, '') + ':';
}

export default {certificate};
